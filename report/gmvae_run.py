"""A run of gmvae.py with other values of settings that are no options.

    python report/gmvae_run.py --change importance_samples=5000 pull_weight=1 -- --pure --seed 3 --out FOLDER

What comes after `--`, and what is unknown before it, goes to gmvae.py, which records every setting.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gmvae
import utils


def changed(changes: list[str]) -> type:
    """gmvae.py's settings with other defaults, each written name=value.

    Raises:
        InputError: there is no such setting, or it is of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(gmvae.Settings)}
    new = []
    for change in changes:
        name, _, text = change.partition("=")
        field = fields.get(name)
        try:
            value = type(field.default)(json.loads(text))
        except (AttributeError, TypeError, ValueError):
            raise utils.InputError(f"--change {change}: wanted the name of a setting and a value of its type") from None
        new.append((name, field.type, dataclasses.field(default=value, metadata=field.metadata)))
    return dataclasses.make_dataclass("Settings", new, bases=(gmvae.Settings,), frozen=True)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--change", nargs="+", default=[], metavar="NAME=VALUE", help="settings and their values")
    found, rest = parser.parse_known_args(argv)
    gmvae.Settings = changed(found.change)
    gmvae.main([word for word in rest if word != "--"])


if __name__ == "__main__":
    utils.run_main(main)
