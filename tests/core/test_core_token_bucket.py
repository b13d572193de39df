from __future__ import annotations

from gateway.core.token_bucket import TokenBucket


def test_a_bucket_fills_up_to_its_burst_only() -> None:
    """A quiet hour is no credit for a flood."""
    bucket = TokenBucket(1.0, 2.0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
