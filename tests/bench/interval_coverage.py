"""Coverage of the 95% intervals: how often they contain the true value, in simulations of speakers and utterances."""

import itertools

import click
import numpy as np

from soctk.scoring import metrics
from soctk.scoring.dimensions import Moments
from soctk.scoring.intervals import Ratios
from soctk.scoring.metrics import METRICS
from soctk.scoring.statistics import STATISTICS, Counts

CLASSES = 4
EACH = 8  # mean number of utterances of a speaker and class
# Accuracy and spread: errors are common; they are rare; they are rare, and one speaker in eight makes most of them.
SYSTEMS = {"70%": (0.7, 12), "99%": (0.99, 200), "99%, few speakers err": (0.99, 12)}
# Predictions of a dimension are slope * label + offset + effect of the speaker + noise: slope, and standard deviations
# of the effect and of the noise. Labels have a standard deviation of 0.4 between and of 1 within speakers.
DIMENSIONS = {"CCC 0.9": (0.8, 0.2, 0.4), "CCC 0.3": (0.3, 0.3, 0.5)}
UTTERANCES = 30  # mean number of utterances of a speaker with values on a dimension
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


def draw_moments(
    generator: np.random.Generator, speakers: int, sigma: float, system: tuple[float, float, float], systems: int
) -> list[np.ndarray]:
    """Draw labels of speakers, and predictions of several systems; return the sums of each, `(1, S, 6)`.

    Speakers differ in the amount of noise (lognormal, sigma 0.3).
    """
    slope, effect, noise = system
    sizes = np.full(speakers, UTTERANCES)
    if sigma:
        sizes = np.maximum(1, generator.poisson(UTTERANCES * generator.lognormal(-(sigma**2) / 2, sigma, speakers)))
    speaker = np.repeat(np.arange(speakers), sizes)
    labels = generator.normal(0, 0.4, speakers)[speaker] + generator.normal(0, 1, len(speaker))
    found = []
    for _ in range(systems):
        offsets = 0.3 * (1 - slope) + generator.normal(0, effect, speakers)
        amounts = noise * np.exp(generator.normal(0, 0.3, speakers))
        predicted = slope * labels + offsets[speaker] + amounts[speaker] * generator.normal(0, 1, len(speaker))
        terms = metrics.moments(labels, predicted)
        found.append(np.stack([np.bincount(speaker, term, speakers) for term in terms.T], axis=1)[None])
    return found


def cover_dimension(
    metric: str, speakers: int, sigma: float, system: tuple[float, float, float], is_difference: bool, samples: int
) -> float:
    """Return the coverage as `cover` does, for CCC, r or RMSE of one dimension."""
    generator = np.random.default_rng([speakers, round(10 * sigma), round(1000 * system[0])])
    truth = 0.0
    if not is_difference:
        truth = Moments(draw_moments(generator, POPULATION, sigma, system, 1)[0], metric).value()
    covered = 0
    for _ in range(samples):
        first, *others = draw_moments(generator, speakers, sigma, system, 1 + is_difference)
        moments = Moments(first, metric)
        _, low, high = moments.minus(Moments(others[0], metric)).interval() if others else moments.interval()
        covered += low <= truth <= high
    return covered / samples


@click.command(context_settings={"show_default": True})
@click.option("--samples", default=2000, help="Samples of speakers for each cell of the table.")
@click.option("--dimensions", "of_dimensions", is_flag=True, help="CCC, r and RMSE in place of WA, UA and macro-F1.")
def main(samples: int, of_dimensions: bool) -> None:
    """Print the coverage in %, for scores and for differences of two systems."""
    speakers = (6, 12, 24, 91)
    if of_dimensions:
        print(f"| system | sizes of speakers | score | {' | '.join(f'{s} speakers' for s in speakers)} |")
        print("| --- " * (3 + len(speakers)) + "|")
        for system, sigma, is_difference in itertools.product(DIMENSIONS, (0.0, 0.7, 1.5), (False, True)):
            sizes = f"lognormal, sigma {sigma}" if sigma else "equal"
            for metric in metrics.DIMENSIONAL:
                name = f"difference of {metric}" if is_difference else metric
                shares = (
                    cover_dimension(metric, s, sigma, DIMENSIONS[system], is_difference, samples) for s in speakers
                )
                cells = (f"{100 * share:.1f}" for share in shares)
                print(f"| {system} | {sizes} | {name} | {' | '.join(cells)} |", flush=True)
        return
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
