import numpy as np
import pytest
import soundfile

from soctk.corpus.importing.commands import NotAFile, find_file


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Recordings mono.wav (16 kHz) and stereo.flac (8 kHz) in the working directory."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("mono.wav", np.zeros(1600), 16000)
    soundfile.write("stereo.flac", np.zeros((800, 2)), 8000)


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        ("a folder/x.wav", "a folder/x.wav"),
        ("cat x.wav |", "x.wav"),
        ("sph2pipe -f wav x.sph |", "x.sph"),
        ("/opt/kaldi/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 x.sph |", "x.sph"),
        ("flac -c -d -s x.flac |", "x.flac"),
        ("flac -cds 'a folder/x.flac' |", "a folder/x.flac"),
        ("sox x.wav -t wav - |", "x.wav"),
        ("sox -t sph x.sph -b 16 -e signed-integer -t wavpcm - |", "x.sph"),
        ("sox mono.wav -r 16k -c 1 -t wav - |", "mono.wav"),
        ("sox stereo.flac -t wav - rate 8000 |", "stereo.flac"),
        ("sox stereo.flac -t wav - remix 1 |", "stereo.flac"),
        ("ffmpeg -v 0 -i x.m4a -f wav - |", "x.m4a"),
        ("ffmpeg -hide_banner -loglevel panic -i mono.wav -c:a pcm_s16le -ar 16000 -ac 1 -f wav pipe:1 |", "mono.wav"),
        ("flac -c -d -s stereo.flac | sox -t wav - -r 8000 -t wav - |", "stereo.flac"),
        ("sph2pipe -f wav -p x.sph|", "x.sph"),
    ],
)  # fmt: skip
def test_a_command_that_only_decodes_is_replaced_by_its_file(entry, file):
    assert find_file(entry) == file


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("sph2pipe -f wav -c 2 x.sph |", "the option -c 2 of sph2pipe"),
        ("sph2pipe -f raw x.sph |", "the option -f raw of sph2pipe"),
        ("sph2pipe -t 1:2 x.sph |", "the option -t of sph2pipe"),
        ("sox mono.wav -r 8000 -t wav - |", "sox resamples from 16000 to 8000 Hz"),
        ("sox mono.wav -t wav - rate 8k |", "sox resamples from 16000 to 8000 Hz"),
        ("sox stereo.flac -c 1 -t wav - |", "sox makes 1 of 2 channels"),
        ("sox gone.wav -r 8000 -t wav - |", "sox asks for a sample rate or channels, and gone.wav cannot be read"),
        ("sox mono.wav -t wav - trim 0 1 |", "the effect trim of sox"),
        ("sox mono.wav -t wav - remix 2 |", "the effect remix of sox"),
        ("sox -v 0.5 mono.wav -t wav - |", "the option -v 0.5 of sox"),
        ("sox mono.wav -t raw - |", "the option -t raw of sox"),
        ("sox mono.wav other.wav |", "sox writes to other.wav"),
        ("sox |", "sox without an input or an output"),
        ("flac -c -d -s --skip=100 x.flac |", "the option --skip=100 of flac"),
        ("flac -c -d a.flac b.flac |", "flac with 2 files"),
        ("ffmpeg -i x.mp3 -ss 1 -f wav - |", "the option -ss 1 of ffmpeg"),
        ("ffmpeg -i mono.wav -ar 8000 -f wav - |", "ffmpeg resamples from 16000 to 8000 Hz"),
        ("ffmpeg -i mono.wav -filter:a volume=2 -f wav - |", "the option -filter:a volume=2 of ffmpeg"),
        ("ffmpeg -i a.wav -i b.wav -f wav - |", "the option -i b.wav of ffmpeg"),
        ("lame --decode x.mp3 - |", "the program lame, which soctk does not know"),
        ("cat x.wav > y.wav; rm x.wav |", "a shell command"),
        ("cat $(ls) |", "a shell command"),
        ("cat 'x.wav |", "an empty command, or a quote that is not closed"),
        ("|", "an empty command, or a quote that is not closed"),
        ("cat x.wav | cat y.wav |", "cat does not read the output before it"),
        ("sox - -t wav - |", "sox reads no file"),
        ("flac -cds stereo.flac | sox -t wav - -r 16000 -t wav - |", "sox resamples from 8000 to 16000 Hz"),
        ("wav.1.ark:17", "a place in an archive"),
    ],
)  # fmt: skip
def test_other_commands_are_refused_with_the_reason(entry, reason):
    with pytest.raises(NotAFile) as caught:
        find_file(entry)
    assert str(caught.value) == reason
