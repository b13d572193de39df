"""A program: prints how many pages the kernel gives it, and clears, for a hundred ticks of arrays that come and go."""

import resource


def tick() -> int:
    """Ten arrays of a plane's size at once: each below glibc's threshold for mapping it by itself, all above that for
    giving memory back."""
    return len([bytearray(100_000) for _ in range(10)])


def pages() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(10):
    tick()
settled = pages()
for _ in range(100):
    tick()
print(pages() - settled)
