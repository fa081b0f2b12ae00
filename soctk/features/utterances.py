"""The utterances and copies that an extraction encodes, with checks of their recordings."""

from collections.abc import Iterable, Sequence

from soctk import progress
from soctk.corpus import audio, quick_checks
from soctk.corpus.datadir import DataDir
from soctk.errors import SoctkError, listing, plural
from soctk.features import augmentation
from soctk.features.babble import choose_voices
from soctk.features.copies import Copy
from soctk.features.upstream import Upstream
from soctk.features.waveforms import Utterance, with_voices


def list_utterances(data: DataDir, copies: Sequence[Copy]) -> list[Utterance]:
    """Return the utterances of a corpus, followed by the copies of each kind; print notes on the recordings."""
    clips = data.clips
    infos = audio.check(clips, data.channel)
    for note in quick_checks.notes(data, infos):
        progress.message(note)
    # The parts of a recording follow each other, so that they are in one shard, or in few, which read it once each.
    order = sorted(clips, key=lambda utt: (clips[utt].path, clips[utt].start)) if data.segments else list(clips)
    digests = {utt: info.digest for utt, info in infos.items()}
    utterances = [
        Utterance(utt, copy, clips[utt], digests[utt], infos[utt].seconds / copy.speed)
        for copy in copies
        for utt in order
    ]
    if any(copy.augmentation == "babble" for copy in copies):
        voices = choose_voices(data, augmentation.SEED)
        utterances = [
            with_voices(each, voices[each.name], clips, digests) if each.copy.augmentation == "babble" else each
            for each in utterances
        ]
    clashes = [each for each in utterances if each.copy != Copy() and each.id in infos]
    if clashes:
        raise SoctkError(
            f"these utterances have the ids of copies\n{listing(each.id for each in clashes)}",
            remedy="Rename these utterances, or extract no copies.",
            where="--augment" if clashes[0].copy.augmentation else "--speed-perturb",
        )
    return utterances


def check_utterances(utterances: Iterable[Utterance], encoder: Upstream) -> None:
    """Check the durations of utterances and copies.

    Raises:
        SoctkError: some are longer than the encoder's limit, or shorter than MIN_SECONDS.
    """
    too_long = [utterance.id for utterance in utterances if utterance.seconds > encoder.max_seconds]
    if too_long:
        raise SoctkError(
            f"{plural(len(too_long), 'utterance is', 'utterances are')} longer than this encoder's limit of "
            f"{encoder.max_seconds:g} s\n"
            f"{listing(too_long)}",
            remedy="Split these utterances, or use another upstream.",
            where=f"--upstream {encoder.name}",
        )
    too_short = [utterance.id for utterance in utterances if utterance.seconds < audio.MIN_SECONDS]
    if too_short:
        raise SoctkError(
            f"{plural(len(too_short), 'copy is', 'copies are')} shorter than {1000 * audio.MIN_SECONDS:.0f} ms\n"
            f"{listing(too_short)}",
            remedy="Remove these utterances from the corpus, or choose lower speeds.",
            where="--speed-perturb",
        )
