from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gateway.media.vad import SileroVad

FIXTURE = Path(__file__).parent / "silero_expected.npz"
WINDOW = SileroVad.window


def fixture() -> tuple[np.ndarray, np.ndarray]:
    """Audio in -1..1, cut into windows, and what onnxruntime makes of it on the published model."""
    with np.load(FIXTURE) as file:
        audio = file["pcm"].astype(np.float32) / 32768
        count = len(file["probabilities"])
        return audio[: count * WINDOW].reshape(count, WINDOW), file["probabilities"]


def test_equal_to_onnxruntime_within_1e_5() -> None:
    """The detector is Silero's, not something like it (the fixture is made by make_silero_data.py)."""
    windows, expected = fixture()
    vad, row = SileroVad(3), np.array([1])
    found = np.concatenate([vad.probabilities(row, window[None]) for window in windows])
    assert np.abs(found - expected).max() < 1e-5


def test_equal_to_onnxruntime_where_the_model_is_installed() -> None:
    """On noise and tones of all levels too, against the original model of the silero-vad package."""
    package = find_spec("silero_vad")  # not imported: that would take torch
    if package is None or package.submodule_search_locations is None:
        pytest.skip("the silero-vad package is not installed")
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(f"{package.submodule_search_locations[0]}/data/silero_vad.onnx")
    rng = np.random.default_rng(3)
    vad, row = SileroVad(1), np.array([0])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, 32), np.float32)
    for k in range(300):
        window = (rng.standard_normal((1, WINDOW)) * 10 ** rng.uniform(-5, 0)).clip(-1, 1).astype(np.float32)
        heard = np.concatenate([context, window], axis=1)
        p, state = session.run(None, {"input": heard, "state": state, "sr": np.array(8000)})
        context = heard[:, -32:]
        assert abs(p[0, 0] - vad.probabilities(row, window)[0]) < 1e-5, k


def test_rows_do_not_influence_each_other() -> None:
    """A call's detection is the same alone and among others that started at other times."""
    windows, expected = fixture()
    vad = SileroVad(4)
    found = []
    for k, window in enumerate(windows):
        if k % 3 == 0:
            vad.probabilities(np.array([0, 3]), np.stack([windows[-k], window * 0.1]))
        found.append(vad.probabilities(np.array([2, 1]), np.stack([window, windows[k // 2]]))[0])
    assert np.abs(np.array(found) - expected).max() < 1e-5


def test_reset_forgets_the_last_call() -> None:
    """A slot that changes hands starts as if new."""
    windows, expected = fixture()
    vad, row = SileroVad(1), np.array([0])
    for window in windows[:80]:
        vad.probabilities(row, window[None])
    vad.reset(row)
    found = np.concatenate([vad.probabilities(row, window[None]) for window in windows[:40]])
    assert np.abs(found - expected[:40]).max() < 1e-5
