"""Coverage of the 95% intervals: how often they contain the true value, in simulations of speakers and utterances."""

import itertools

import click
import numpy as np

from soctk.scoring.intervals import Ratios
from soctk.scoring.metrics import METRICS
from soctk.scoring.statistics import STATISTICS, Counts

CLASSES = 4
EACH = 8  # mean number of utterances of a speaker and class
# Accuracy and spread: errors are common; they are rare; they are rare, and one speaker in eight makes most of them.
SYSTEMS = {"70%": (0.7, 12), "99%": (0.99, 200), "99%, few speakers err": (0.99, 12)}
POPULATION = 100_000


def draw_sizes(generator: np.random.Generator, speakers: int, sigma: float) -> np.ndarray:
    """Draw the number of utterances of each speaker and class: equal for sigma 0, else lognormal, classes uneven."""
    if not sigma:
        return np.full((speakers, CLASSES), EACH)
    sizes = EACH * generator.lognormal(-(sigma**2) / 2, sigma, size=(speakers, 1)) * np.linspace(0.4, 1.6, CLASSES)
    return generator.poisson(sizes)


def draw_system(generator: np.random.Generator, utterances: np.ndarray, accuracy: float, spread: float) -> Counts:
    """Draw the answers of a system whose accuracy differs by speaker (beta distribution) and by class.

    Args:
        generator: the source of random numbers.
        utterances: the number of utterances of each speaker and class, `(S, CLASSES)`.
        accuracy: the mean accuracy, at which errors are spread evenly over the other classes.
        spread: the larger, the less speakers differ.
    """
    by_speaker = generator.beta(spread * accuracy, spread * (1 - accuracy), size=(len(utterances), 1))
    by_class = generator.normal(0, 0.4 * (1 - accuracy) * accuracy, size=utterances.shape)
    right = generator.binomial(utterances, np.clip(by_speaker + by_class, 0, 1))
    answers = right.copy()
    for k in range(CLASSES):
        elsewhere = (np.arange(CLASSES) != k) / (CLASSES - 1)
        answers += generator.multinomial(utterances[:, k] - right[:, k], elsewhere)
    return Counts(utterances, right[None], answers[None], np.zeros(len(utterances)))


def cover(
    metric: str, speakers: int, sigma: float, system: tuple[float, float], is_difference: bool, samples: int
) -> float:
    """Return the share of the intervals that contain the true value of a score, or of the difference of two systems.

    Args:
        metric: WA, UA or F1.
        speakers: the number of speakers in a sample.
        sigma: how different their numbers of utterances are.
        system: accuracy and spread (see `draw_system`).
        is_difference: whether to compare two such systems on the same utterances; their true difference is 0.
        samples: the number of samples.
    """
    generator = np.random.default_rng([speakers, round(10 * sigma), round(1000 * system[0])])
    statistic, truth = STATISTICS[metric], 0.0
    if not is_difference:
        truth = statistic(draw_system(generator, draw_sizes(generator, POPULATION, sigma), *system)).value()
    covered = 0
    for _ in range(samples):
        utterances = draw_sizes(generator, speakers, sigma)
        ratios: Ratios = statistic(draw_system(generator, utterances, *system))
        if is_difference:
            ratios = ratios.minus(statistic(draw_system(generator, utterances, *system)))
        _, low, high = ratios.interval()
        covered += low <= truth <= high
    return covered / samples


@click.command(context_settings={"show_default": True})
@click.option("--samples", default=2000, help="Samples of speakers for each cell of the table.")
def main(samples: int) -> None:
    """Print the coverage in %, for scores and for differences of two systems."""
    speakers = (6, 12, 24, 91)
    print(f"| accuracy | sizes of speakers | score | {' | '.join(f'{s} speakers' for s in speakers)} |")
    print("| --- " * (3 + len(speakers)) + "|")
    for system, sigma, is_difference in itertools.product(SYSTEMS, (0.0, 0.7, 1.5), (False, True)):
        sizes = f"lognormal, sigma {sigma}" if sigma else "equal"
        for metric in METRICS:
            name = f"difference of {metric}" if is_difference else metric
            cells = (f"{100 * cover(metric, s, sigma, SYSTEMS[system], is_difference, samples):.1f}" for s in speakers)
            print(f"| {system} | {sizes} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
