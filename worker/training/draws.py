"""Random numbers as a function of (seed, epoch, sample index, position in the list, number of the draw).

Philox4x32-10: a keyed bijection of 128-bit counters, ten rounds of multiply and exchange (Salmon, Moraes, Dror, Shaw:
"Parallel random numbers: as easy as 1, 2, 3", SC 2011). There is no state to share, save or resume: the same sample
draws the same numbers in any order, batch, thread, rank and attempt. A NumPy Generator object for each sample would
give that too, and cost 22 us a sample; here a batch is drawn at once.
"""

# N = images in the batch, C = values drawn for each

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Values = npt.NDArray[np.float64]
Notes = dict[int, dict[str, npt.NDArray[Any]]]
"""By the place in the list: what an entry of it drew, by a name for people. The first axis is the images'."""

_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_WEYL = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)  # golden ratio, sqrt(3) - 1: added to the key each round
_KEY_STEPS = np.arange(_ROUNDS, dtype=np.uint64)[:, None, None] * _WEYL


def philox4x32(counters_4N: npt.NDArray[np.uint64], key: tuple[int, int]) -> Words:
    """The four words of each 128-bit counter; both are given as rows of 32-bit words, least significant first."""
    even_2N, odd_2N = counters_4N[0::2], counters_4N[1::2]
    for key_21 in (np.array(key, np.uint64)[:, None] + _KEY_STEPS) & _LOW:
        products_2N = (even_2N * _MULTIPLIERS)[::-1]
        even_2N, odd_2N = (products_2N >> _HALF) ^ odd_2N ^ key_21, products_2N & _LOW
    return np.stack([even_2N, odd_2N], axis=1).reshape(4, -1).astype(np.uint32)


class Draw:
    """The numbers that one entry of the augmentation list draws for each image of a batch.

    Each call gives new numbers, so an entry must make its calls in a fixed order, and for all images of the batch.
    """

    def __init__(
        self, seed: int, epoch: int, position: int, indices_N: npt.NDArray[np.int64], notes: Notes | None = None
    ) -> None:
        """`seed` below 2**64; `epoch`, `position` and the sample indices from 0, below 2**32. `notes` are added to."""
        self._key = seed & 0xFFFFFFFF, seed >> 32
        self._epoch = epoch
        self._position = position
        self._indices_N = np.asarray(indices_N).astype(np.uint64)
        self._blocks = 0
        self._notes = notes

    @property
    def count(self) -> int:
        """Images in the batch."""
        return len(self._indices_N)

    def uniforms(self, count: int) -> Values:
        """`count` values for each image, as C x N, each uniform in [0, 1) with 53 random bits."""
        blocks = -(-count // 2)  # four words, which make two values
        counters = np.empty((4, blocks, len(self._indices_N)), np.uint64)
        counters[0] = self._indices_N
        counters[1] = self._epoch
        counters[2] = self._position
        counters[3] = np.arange(self._blocks, self._blocks + blocks, dtype=np.uint64)[:, None]
        self._blocks += blocks
        words = philox4x32(counters.reshape(4, -1), self._key).reshape(2, 2, blocks, -1)
        values_2BN = ((words[:, 0] >> 5) * 2.0**26 + (words[:, 1] >> 6)) * 2.0**-53
        return values_2BN.transpose(1, 0, 2).reshape(2 * blocks, -1)[:count]

    def uniform(self, low: float, high: float) -> Values:
        """One value for each image, uniform in [low, high)."""
        return low + (high - low) * self.uniforms(1)[0]

    def symmetric_beta(self, alpha: float) -> Values:
        """One value for each image from Beta(alpha, alpha), in [0, 1]; `alpha` above 0. Always two uniforms, none
        rejected.

        T = sqrt(2a (U^(-1/a) - 1)) cos(2 pi V) has Student's distribution of 2a degrees of freedom for every a > 0
        (Bailey, "Polar generation of random variates with the t-distribution", Math. Comp. 62, 1994), and then
        (1 + T / sqrt(2a + T^2)) / 2 is Beta(a, a). Written in u = U^(1/a), nothing overflows or divides by 0;
        rounding may go beyond the ends by one bit.
        """
        uniform_N, turn_N = self.uniforms(2)
        u_N, cos_N = uniform_N ** (1 / alpha), np.cos(2 * np.pi * turn_N)
        values_N = (1 + cos_N * np.sqrt((1 - u_N) / (cos_N**2 * (1 - u_N) + u_N))) / 2
        return np.clip(values_N, 0, 1)

    def chance(self, probability: float) -> npt.NDArray[np.bool_]:
        """True with the given probability, for each image by itself; never at 0, always at 1."""
        return self.uniforms(1)[0] < probability

    def note(self, **drawn: npt.NDArray[Any]) -> None:
        """Say what the numbers became, for those who look at what training sees. Costs nothing when nobody does."""
        if self._notes is not None:
            self._notes.setdefault(self._position, {}).update(drawn)
