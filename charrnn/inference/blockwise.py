"""Score texts of any length, block by block: as they arrive, or a whole file in parallel streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from charrnn.inference.language_model import LanguageModel
from charrnn.inference.scoring import Score, Stream, nats_of, spread, streams_of
from charrnn.text.known_text import KnownText
from charrnn.text.spool import Spool
from charrnn.text.token_file import Place, no_room


class BlockScores:
    """The scores of a text that comes in ``blocks``, in order: iterate over it once.

    The text settings of the model must have been applied to the blocks, as in ``reader.text_blocks``. If ``live``, each
    block is scored as soon as it is available, in one stream. Otherwise all blocks are read first, then scored in the
    ``streams`` of ``LanguageModel.score``, with the same result. The ids and the scores of a long text are then kept in
    temporary files. Iterating raises the errors of ``blocks``, and CorpusError if a temporary file cannot be written.
    """

    def __init__(self, model: LanguageModel, blocks: Iterable[str], live: bool = False) -> None:
        self.streams = 1
        self._model = model
        self._blocks = blocks
        self._live = live

    def __iter__(self) -> Iterator[Score]:
        return self._as_it_arrives() if self._live else self._in_streams()

    def _as_it_arrives(self) -> Iterator[Score]:
        vocabulary = self._model.vocabulary
        stream = Stream(self._model.network, vocabulary.start, self._model.separator)
        for block in filter(None, self._blocks):
            ids, known = vocabulary.encode_known(block)
            nats = stream.nats(ids if vocabulary.unknown is not None else ids[known])
            yield Score(block, spread(nats, known))

    def _in_streams(self) -> Iterator[Score]:
        model, place = self._model, Place(None)
        text, spool = KnownText(model.vocabulary, place.folder), Spool(model.network.dtype, place.folder)
        try:
            for block in self._blocks:
                text.add(block)
            text.end()
            spool.fill(len(text.ids))
            nats = spool.array()
            self.streams = streams_of(len(text.ids))
            nats_of(model.network, [text.ids], model.vocabulary.start, model.separator, into=[nats])
            for part in text.blocks():
                yield Score(part.text, spread(nats[part.ids], part.known))
        except OSError as error:
            raise no_room(error) from error
        finally:
            text.close()
            spool.close()
            place.discard()
