"""Real points, which scikit-learn ships, fitted as `gmm_vi.py --data` does and compared with EM.

    iris    150 flowers of three species (Fisher 1936): length and width of the petals, cm
    wine    178 wines of three cultivars (Forina et al. 1991): flavanoids and colour intensity

    python report/gmm_real.py --data iris --out FOLDER

metrics.json is that of gmm_vi.py, with the adjusted Rand index of q's clusters against species or cultivars, which
nothing but this score sees.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from sklearn.datasets import load_iris, load_wine

import gmm_vi
import utils

import zhusuan as zs  # isort: skip

DATA = {
    "iris": (load_iris, ("petal length (cm)", "petal width (cm)")),
    "wine": (load_wine, ("flavanoids", "color_intensity")),
}


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The two columns of a data set `[N, 2]`, and the class of each point `[N]`."""
    loader, columns = DATA[name]
    found = loader()
    chosen = [list(found.feature_names).index(column) for column in columns]
    return np.ascontiguousarray(found.data[:, chosen]), found.target


def main(argv: list[str] | None = None) -> None:
    """The command line: that of gmm_vi.py, where --data is the name of a data set."""
    with utils.open_run(gmm_vi.Settings, "gmm_real", __doc__, gmm_vi.PICTURED, argv) as opened:
        settings, given, folder, resume = opened
        if resume and not folder.is_unfinished:
            return
        if settings.data not in DATA:
            found = "is missing" if settings.data is None else settings.data
            raise utils.InputError(f"--data {found}: wanted one of {', '.join(DATA)}")
        gmm_vi.refuse_drawing(given)
        zs.set_seed(settings.seed)
        points, classes = read(settings.data)
        settings = utils.with_checksum(dataclasses.replace(settings, n=len(points)), resume, points)
        if not resume:
            folder.start(settings)
        gmm_vi.run(settings, folder, gmm_vi.standardize(points, classes, None))


if __name__ == "__main__":
    utils.run_main(main)
