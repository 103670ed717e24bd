import pytest
import torch

from ganvas.models.layers import clamp


def test_clamped_values_lie_between_minus_one_and_one():
    x = torch.tensor([-3.0, -1.0, -0.2, 0.7, 1.0, 4.0])
    assert clamp(x).tolist() == pytest.approx([-1.0, -1.0, -0.2, 0.7, 1.0, 1.0])


@pytest.mark.parametrize(
    ("value", "gradient", "kept"),
    [(0.5, 1, 1), (0.5, -1, -1), (2, 1, 1), (2, -1, 0), (-2, -1, -1), (-2, 1, 0), (1, -1, -1), (-1, 1, 1)],
)
def test_no_gradient_step_leads_further_out_and_all_lead_back_in(value, gradient, kept):
    x = torch.tensor(float(value), requires_grad=True)
    (clamp(x) * gradient).backward()
    assert x.grad is not None
    assert x.grad.item() == kept


def test_a_pixel_far_outside_comes_back():
    x = torch.tensor([5.0, -5.0], requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad((clamp(x) - torch.tensor([0.3, -0.3])).square().sum(), x)
        with torch.no_grad():
            x -= 0.1 * gradient
    assert x.tolist() == pytest.approx([0.3, -0.3], abs=1e-3)
