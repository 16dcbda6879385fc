import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def close_figures():
    """Close what a test drew; a figure from before would be drawn into."""
    assert not plt.get_fignums()
    yield
    plt.close("all")
