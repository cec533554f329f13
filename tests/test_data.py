"""Reading the user's points and images: what is understood, and what is refused with which words."""

import gzip
import hashlib
import re
import tracemalloc

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utils

POINTS = np.array([[0.5, -20.0], [1.5, 30.0], [-2.25, 1e3]])


# Points


@pytest.fixture
def csv(tmp_path):
    """Writes a CSV file."""

    def write(content):
        path = tmp_path / "points.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    "content",
    [
        "0.5,-20\n1.5,30\n-2.25,1000\n",
        "0.5,-20\n1.5,30\n-2.25,1e3",  # no end of the last line, exponent
        "width,height\n0.5,-20\n1.5,30\n-2.25,1000\n",
        "\ufeffwidth,height\r\n0.5,-20\r\n1.5,30\r\n-2.25,1000\r\n",
        "\ufeff0.5,-20\n1.5,30\n-2.25,1000\n",
        '"width, cm","height"\n"0.5","-20"\n"1.5","30"\n"-2.25","1000"\n',
        " x , y \n 0.5 , -20 \n\n 1.5,+30\n-2.25,1000\n\n  \n",
        "größe,länge\n.5,-20.\n1.5,30\n-2.25,1000\n",
        "0.5,-20\r1.5,30\r-2.25,1000\r",
    ],
    ids=["plain", "no-last-newline", "header", "bom-crlf", "bom", "quotes", "spaces-and-gaps", "utf-8-header", "cr"],
)
def test_points_are_read(csv, content):
    points = utils.read_points(csv(content))
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize("scale", [1e-30, 1e-2, 1.0, 1e2, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_points_in_any_units_and_at_any_offset_are_read_to_the_last_digit(csv, scale, offset):
    points = scale * (np.random.default_rng(0).normal(size=(20, 2)) + offset)
    text = "\n".join(f"{x!r},{y!r}" for x, y in points.tolist())
    np.testing.assert_array_equal(utils.read_points(csv(text)), points)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no points; give a CSV file of two numeric columns"),
        ("\n\n \n", "holds no points"),
        ("x,y\n", "holds no points"),
        ("1,2\n3,4,5\n6,7\n", "line 2 has 3 columns; wanted two"),
        ("1,2\n\n3\n6,7\n", "line 3 has 1 column"),
        ("x,y\n1,2\n3,\n", "line 3 has ''; wanted a number"),
        ("1,2\n , \n3,4\n", "line 2 has ''; wanted a number"),  # no blank line: two fields are missing
        ("x,y\n1,2\n3, abc\n", "line 3 has 'abc'; wanted a number"),
        ("1,abc\n3,4\n5,6\n", "line 1 has 'abc'; wanted a number"),
        ("x,y\nunit,unit\n3,4\n5,6\n", "line 2 has 'unit'; wanted a number"),
        ("1,2\n3,nan\n4,5\n", "line 2 has '3,nan'; wanted finite numbers, drop or repair the line"),
        ("x,y\n1,2\n-inf,4\n", "line 3 has '-inf,4'; wanted finite numbers"),
        ("1,2\n3,1e999\n", "line 2 has '3,1e999'; wanted finite numbers"),
        ("x\n1\n2\n", "line 1 has 1 column"),
        ("x,y,z\n1,2,3\n4,5,6\n", "has 3 columns; wanted two, separated by a comma"),
        ("1;2\n3;4\n", "line 1 has '1;2'; wanted two columns separated by a comma, with a point in numbers"),
        ("1,5;2,3\n2,5;3,5\n", "line 1 has '1,5;2,3'; wanted two columns separated by a comma"),
        ("x;y\n1,5;2\n", "line 1 has 'x;y'; wanted two columns separated by a comma"),
        ("x,y\n1,5;2\n", "line 2 has '1,5;2'; wanted two columns"),
        ("1\t2\n3\t4\n", "line 1 has '1\\t2'; wanted two columns"),
        ("1,5\t2,3\n", "replace the commas by points, then ';' or tabs by commas"),
        ("1.5 2.5\n3 4\n", "line 1 has 1 columns; wanted two, separated by a comma"),
        ("1,5\n2,5\n3,5\n", "column 2 is constant at 5"),
        ("0,1\n0,2\n0,3\n", "column 1 is constant at 0"),
        ("1,2\n", "column 1 is constant at 1"),
        ("1,1e9\n2,1000000000.0000001\n", "column 2 is constant"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is no text in CSV form"),
        ("x,y\n1,2\n3,4\n".encode("utf-16"), "is no text in CSV form"),
        (gzip.compress(b"1,2\n3,4\n", mtime=0), "is no text in CSV form"),
        (b"1,2\n3,4\x00\n", "line "),  # Python 3.10 refuses the text, later ones the number
        ("1," + "2" * 200_000 + "\n3,4\n", "is no text in CSV form"),
    ],
    ids=lambda value: None if isinstance(value, bytes) or len(value) > 60 else repr(value),
)
def test_bad_points_are_refused(csv, content, message):
    path = csv(content)
    with pytest.raises(utils.InputError, match=re.escape(message)) as error:
        utils.read_points(path)
    assert str(error.value).startswith(f"--data {path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_csv_and_a_folder_are_refused(tmp_path):
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(utils.InputError, match=re.escape(f"--data {path}: cannot be read ({reason}")):
            utils.read_points(str(path))


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_points_whose_squares_leave_the_range_of_floats_are_refused(csv, scale):
    points = scale * np.random.default_rng(0).normal(size=(20, 2))
    path = csv("\n".join(f"{x!r},{y!r}" for x, y in points.tolist()))
    with pytest.raises(utils.InputError, match="column 1 has values near .*; give it in another unit"):
        utils.read_points(path)


@pytest.mark.parametrize("value", ["1_000", "9" * 400, "a\nb\x1b[2J", "x" * 5000])
def test_fields_that_are_no_numbers_are_shown_in_short(csv, value):
    with pytest.raises(utils.InputError) as error:
        utils.read_points(csv(f'x,y\n1,2\n"{value}",4\n5,6\n'))
    assert re.search(r"line \d has '.*; wanted", str(error.value))
    assert len(str(error.value)) < 250
    assert str(error.value).isprintable()


def test_a_first_line_of_numbers_with_underscores_is_no_header(csv):
    with pytest.raises(utils.InputError, match="line 1 has '1_000'; wanted a number"):
        utils.read_points(csv("1_000,2_000\n3,4\n5,6\n"))


# Whatever the bytes


@st.composite
def spoilt(draw, valid):
    """Any bytes, or valid ones with bits flipped, parts cut out and parts put in."""
    content = draw(st.sampled_from(valid) | st.binary(max_size=100))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 40, len(content))) | st.just(len(content)))
        filling = draw(
            st.binary(max_size=12) | st.sampled_from([b",", b'"', b"\n", b"_", b"nan", b"1e400", b"\xff" * 4])
        )
        flipped = bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in content[start : start + 2])
        content = content[:start] + draw(st.sampled_from([filling, flipped])) + content[end:]
    return content


FUZZ = settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CSVS = [b"0.5,-20\n1.5,30\n-2.25,1000\n", b'\xef\xbb\xbf"a ""b""",c\r\n1,2\r\n3,4\r\n', b"x;y\n1;2\n", b"1,2\n" * 20]
IMAGES = tiny.structured_images(3, 0)


def check_told(read):
    """A reader gives a result or tells in one line what is wrong, and takes little memory."""
    tracemalloc.start()
    try:
        return read()
    except utils.InputError as error:
        assert str(error).startswith("--data ")
        assert str(error).isprintable()
        assert len(str(error)) < 400
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23


@FUZZ
@given(spoilt(CSVS))
def test_any_bytes_are_points_or_are_refused(csv, content):
    points = check_told(lambda: utils.read_points(csv(content)))
    if points is not None:
        assert points.dtype == np.float64
        assert points.shape[1:] == (2,)
        assert np.isfinite(points).all()
        assert np.all(np.ptp(points, axis=0) > 0)


@st.composite
def spoilt_idx(draw):
    """The name of an IDX file, gzipped or not, and its spoilt bytes."""
    name = draw(st.sampled_from(tiny.MNIST_FILES))
    valid = tiny.idx(IMAGES["labels" in name])
    if draw(st.booleans()):
        return f"{name}.gz", draw(spoilt([gzip.compress(valid, mtime=0)]) | spoilt([valid]).map(gzip.compress))
    return name, draw(spoilt([valid]))


@FUZZ
@given(spoilt_idx())
def test_any_bytes_are_images_or_are_refused(tmp_path, file):
    name, content = file
    data = tiny.write_images(tmp_path / "data", 3, 3)
    for path in data.glob("*.gz"):
        path.unlink()
    (data / name.removesuffix(".gz")).unlink()
    (data / name).write_bytes(content)
    images = check_told(lambda: utils.read_images(str(data)))
    if images is not None:
        assert images.train.shape == (3, 784)
        assert images.test_labels.shape == (3,)


@pytest.mark.parametrize(
    "header", [tiny.idx(IMAGES[0])[:16], bytes([0, 0, 8, 3]) + b"\xff" * 4 + tiny.idx(IMAGES[0])[8:16]]
)
@pytest.mark.parametrize("compress", [False, True])
def test_a_file_takes_no_more_memory_than_it_has_bytes_or_its_sizes_say(data, header, compress):
    bomb = header + bytes(2**20 if header[4] else 2**25)
    tiny.write_file(data, "train-images-idx3-ubyte", bomb, compress)
    del bomb
    assert check_told(lambda: utils.read_images(str(data))) is None


def test_more_images_than_fit_are_refused_by_the_header(data):
    header = bytes([0, 0, 8, 3]) + (10**6 + 1).to_bytes(4, "big") + bytes([0, 0, 0, 28] * 2)
    tiny.write_file(data, "train-images-idx3-ubyte", header)
    with pytest.raises(utils.InputError, match="its header says 1000001 images; wanted at most 1000000"):
        utils.read_images(str(data))


def test_more_points_than_fit_are_refused(csv, monkeypatch):
    monkeypatch.setattr(utils, "MOST_POINTS", 3)
    assert len(utils.read_points(csv("1,2\n3,4\n5,7\n"))) == 3
    with pytest.raises(utils.InputError, match="holds more than 3 points; give a sample of them"):
        utils.read_points(csv("1,2\n3,4\n5,7\n6,8\n"))


def test_a_line_without_end_takes_no_memory(csv):
    path = csv("1," * 2**24)
    assert check_told(lambda: utils.read_points(path)) is None


# Images


def test_mnist_is_whole():
    images = utils.read_images(str(tiny.PROJECT / "data/mnist"))
    assert [(a.shape, a.dtype) for a in images] == [
        ((60_000, 784), np.uint8),
        ((60_000,), np.uint8),
        ((10_000, 784), np.uint8),
        ((10_000,), np.uint8),
    ]
    # The README's checksums are those of the issue, and the arrays' bytes are the files'.
    sums = dict(re.findall(r"`([\w-]+)` \| ([0-9a-f]{32})", (tiny.PROJECT / "data/mnist/README.md").read_text()))
    assert sums == {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    for name, array in zip(tiny.MNIST_FILES, images, strict=True):
        content = tiny.idx(array.reshape(-1, 28, 28) if "images" in name else array)
        assert hashlib.md5(content).hexdigest() == sums[name]


@pytest.mark.parametrize("compress", [False, True])
def test_images_are_read_gzipped_or_not(tmp_path, compress):
    images = utils.read_images(str(tiny.write_images(tmp_path, 30, 20, compress)))
    for part, (pixels, labels) in enumerate(((images.train, images.train_labels), (images.test, images.test_labels))):
        wanted, wanted_labels = tiny.structured_images(len(pixels), part)
        np.testing.assert_array_equal(pixels, wanted.reshape(-1, 784))
        np.testing.assert_array_equal(labels, wanted_labels)
    assert (len(images.train), len(images.test)) == (30, 20)


@pytest.fixture
def data(tmp_path):
    return tiny.write_images(tmp_path / "data", 30, 20)


def check_refused(folder, *parts):
    with pytest.raises(utils.InputError) as error:
        utils.read_images(str(folder))
    message = str(error.value)
    assert message.startswith(f"--data {folder}")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_folder_and_a_file_in_its_place_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file", tmp_path / ("x" * 300)):
        check_refused(folder, "is missing; wanted a folder with the four files of MNIST")


@pytest.mark.parametrize("name", tiny.MNIST_FILES)
def test_an_incomplete_folder_is_refused(data, name):
    (data / name).unlink()
    check_refused(data, f"{name}[.gz] is missing")


@pytest.mark.parametrize("name", tiny.MNIST_FILES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "begins with nothing; wanted 0000080"),
        (lambda content: content[:6], "wanted 0000080"),  # cut off in the header
        (lambda content: b"\x89PNG" + content[4:], "begins with 89504e47; wanted 0000080"),
        (lambda content: bytes([0, 0, 0x0D]) + content[3:], "begins with 00000d0"),  # floats
        (lambda content: content[:-1], "want"),
        (lambda content: content[:-200] if len(content) > 300 else content[:-20], "get the file again"),
        (lambda content: content + b"\0", "it holds more"),
        (lambda content: content[:4] + b"\xff" * 4 + content[8:], "4294967295"),
    ],
    ids=["empty", "header-cut", "png", "floats", "one-byte-short", "truncated", "trailing-byte", "huge-size"],
)
def test_a_corrupt_file_is_refused(data, name, spoil, message):
    path = data / name
    path.write_bytes(spoil(path.read_bytes()))
    check_refused(data, name, message)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda zipped: zipped[: len(zipped) // 2],
        lambda zipped: zipped[:-4],
        lambda zipped: zipped[:20] + bytes(20) + zipped[40:],
        lambda zipped: zipped[:-8] + bytes(8),
        lambda zipped: zipped + b"more",
        gzip.decompress,
    ],
    ids=["half", "no-end", "zeroed", "wrong-checksum", "trailing", "not-gzipped"],
)
def test_a_corrupt_gzip_file_is_refused(tmp_path, spoil):
    data = tiny.write_images(tmp_path, 30, 20, compress=True)
    path = data / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    check_refused(data, str(path), "is corrupt or truncated", "get the file again")


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((20, 28, 32), 20, "images are 28 x 32 pixels; wanted 28 x 28"),
        ((20, 14, 56), 20, "images are 14 x 56 pixels"),
        ((20, 28, 28), 19, "has 20 images but 19 labels; wanted as many of both"),
        ((0, 28, 28), 0, "has no images; wanted at least one"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(data, part, images, labels, message):
    tiny.write_file(data, f"{part}-images-idx3-ubyte", tiny.idx(np.zeros(images)))
    tiny.write_file(data, f"{part}-labels-idx1-ubyte", tiny.idx(np.zeros(labels)))
    check_refused(data, part, message)


def test_a_label_above_nine_is_refused(data):
    labels = np.arange(20) % 10
    labels[7] = 10
    tiny.write_file(data, "t10k-labels-idx1-ubyte", tiny.idx(labels))
    check_refused(data, "t10k has a label 10; wanted labels from 0 to 9")


def test_images_in_the_place_of_labels_are_refused(data):
    (data / "train-images-idx3-ubyte").replace(data / "train-labels-idx1-ubyte")
    tiny.write_file(data, "train-images-idx3-ubyte", tiny.idx(np.zeros((30, 28, 28))))
    check_refused(data, "begins with 00000803; wanted 00000801")
