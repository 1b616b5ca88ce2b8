"""Options and settings of the tests that compare tuyere with PyTorch itself."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run every OpInfo sample and not only the first few of each kind")


@pytest.fixture(autouse=True)
def clean_state():
    """Each test starts without what Dynamo compiled for the last one, from the same seed."""
    torch._dynamo.reset()
    torch.manual_seed(1337)
    yield
    torch._dynamo.reset()


@pytest.fixture
def no_grad():
    """For files whose tests are about inference."""
    with torch.no_grad():
        yield
