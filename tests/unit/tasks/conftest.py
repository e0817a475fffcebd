"""Small models on one thread: more threads cost more than they give at these sizes."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
