"""D-MoE: who answers, how much, and that nobody is left idle."""

from __future__ import annotations

import torch
from mast_pro_tools import batch_for, small_network

from MoESegLib.models.mast_pro import MastProConfig
from MoESegLib.models.mast_pro.dmoe import Adapter, DMoE, Router, balance_loss


def route(router: Router, seed: int = 0, batch: int = 5):
    source = torch.Generator().manual_seed(seed)
    return router([torch.randn(batch, 6, generator=source), torch.randn(batch, 10, generator=source)], {})


def test_the_top_k_keep_their_share_of_a_softmax_over_all() -> None:
    torch.manual_seed(0)
    router = Router((6, 10), hidden=8, experts=5, top_k=2).eval()
    routing = route(router)
    softmax = routing.scores.softmax(dim=-1)
    assert ((routing.weights > 0).sum(dim=1) == 2).all()
    assert torch.equal(routing.weights.gather(1, routing.chosen), softmax.gather(1, routing.chosen))
    assert torch.equal(routing.chosen, softmax.topk(2).indices)
    assert (routing.weights.sum(dim=1) < 1).all()
    assert torch.equal(routing.balance, torch.full((5,), 0.5))
    assert routing.experts == ("0", "1", "2", "3", "4")


def test_noise_is_for_training_only() -> None:
    torch.manual_seed(0)
    router = Router((6, 10), hidden=8, experts=5, top_k=2).train()
    noisy = [route(router).weights for _ in range(2)]
    assert not torch.equal(*noisy)
    router.eval()
    assert torch.equal(route(router).weights, route(router).weights)


def test_the_route_depends_on_the_task_and_on_the_image() -> None:
    network, batch = small_network(), batch_for()
    with torch.inference_mode():
        told = network(**batch).routing[1].scores
        for change in (
            {"text": batch["text"].flip(0)},
            {"tumor": batch["tumor"].flip(0)},
            {"image": batch["image"] ** 2},
        ):
            assert not torch.allclose(network(**{**batch, **change}).routing[1].scores[0], told[0])


def test_the_update_is_the_balanced_sum_of_all_experts() -> None:
    torch.manual_seed(1)
    block = DMoE(
        MastProConfig(channels=(8, 16), encoder_units=(1, 1), decoder_units=(1,), mixtures=1, attention=False), 16
    )
    for value in block.parameters():
        torch.nn.init.normal_(value, std=0.3)
    block.eval()
    x, text, organs, tumor = (
        torch.randn(3, 16, 2, 3, 4),
        torch.randn(3, 4, 128),
        torch.randn(3, 2, 128),
        torch.randn(3, 128),
    )
    with torch.inference_mode():
        y, routing = block(x, text, (organs, torch.ones(3, 2, dtype=torch.bool)), tumor, {})
        assert routing is not None
        normal = block.norm(x)
        for row in range(3):
            generic = sum(expert(normal[row : row + 1]) for expert in block.generic) / 2
            special = sum(
                routing.weights[row, int(number)] * block.specific[str(int(number))](normal[row : row + 1])
                for number in routing.chosen[row]
            )
            share = routing.balance[row]
            expected = x[row] + ((1 - share) * generic + share * special)[0]
            assert torch.allclose(y[row], expected, atol=1e-4)


def test_an_expert_begins_as_no_change() -> None:
    assert not Adapter(16, 4)(torch.randn(2, 16, 3, 3, 3)).any()


def test_the_balance_loss_is_larger_when_one_expert_takes_all() -> None:
    torch.manual_seed(0)
    router = Router((6, 10), hidden=8, experts=5, top_k=2).eval()
    spread = balance_loss([route(router, batch=64)], 2)
    with torch.no_grad():
        router.score.bias[0] += 20
    alone = balance_loss([route(router, batch=64)], 2)
    assert alone.detach() > spread.detach() + 1


def test_learning_the_balance_gives_every_expert_its_share() -> None:
    torch.manual_seed(0)
    router = Router((6, 10), hidden=8, experts=5, top_k=1).train()
    with torch.no_grad():
        router.score.bias[0] += 3
    optimizer = torch.optim.Adam(router.parameters(), lr=0.02)

    def largest_share() -> float:
        router.eval()
        share = (route(router, seed=99, batch=256).weights > 0).float().mean(dim=0).max()
        router.train()
        return float(share)

    before = largest_share()
    for step in range(200):
        optimizer.zero_grad()
        balance_loss([route(router, seed=step, batch=32)], 1).backward()
        optimizer.step()
    assert before > 0.9
    assert largest_share() < 0.5


def test_without_experts_there_is_nothing_to_balance() -> None:
    assert balance_loss([], 2) == 0
