"""Pages of company filings: is the page that holds the evidence found, end to end on the PDFs?

    python benchmarks/pages.py --profiles compact minilm --index pages.index --pictures pages.png

Ingests the PDFs of ``financebench-dev`` with the product and asks its questions in every mode. A ranking of hits
becomes one of pages: a page takes the place of its best hit, and a hit that lies on two pages gives both, the first
one first. "In the top 5" is an evidence page among the first five pages so found; "by 5 hits" among the pages of the
first five hits, which is what a person sees. BM25 over whole pages, in the same run, ranks the page texts that come
with the set.

Prints two Markdown tables: measures of each mode, and where each question's evidence page came. Chunking and all other
settings are changed as users change them: ``RAG_CHUNKING__MAX_TOKENS=128``, with an ``--index`` of its own; one that is
there is used again. ``--pictures`` writes the page of the best hits of each question, as ``hit.page_image()`` shows it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ir_measures
from ir_measures import nDCG
from quality import ROOT, open_set

from rag_pipeline import RagPipeline
from rag_pipeline.encoders.bm25 import Bm25Encoder
from rag_pipeline.evaluation.beir import JudgedSet, read_beir
from rag_pipeline.evaluation.evaluate import EvalMode, parse_modes
from rag_pipeline.evidence import Evidence
from rag_pipeline.types import Mode

SET = "financebench-dev"
DEPTH = 100
"""Hits from which pages are ranked; the reranker keeps fewer."""


@dataclass(frozen=True)
class Ranking:
    """What one mode gave: by question, the pages best first, and those of the first five hits."""

    name: str
    pages: Mapping[str, Sequence[str]]
    first_hits: Mapping[str, Sequence[str]]


def rank_pages(hits: Iterable[Evidence]) -> list[str]:
    """Return the distinct pages of hits as the set names them: the file's stem, and the page counted from 0."""
    found: dict[str, None] = {}
    for hit in hits:
        for page in sorted({place.page for place in hit.places}) or [hit.page or 1]:
            found[f"{Path(hit.path).stem}#p{page - 1}"] = None
    return list(found)


def search(rag: RagPipeline, judged: JudgedSet, mode: EvalMode, profile: str) -> Ranking:
    """Ask every question in one mode."""
    leg: Mode = "hybrid" if mode == "hybrid+rerank" else mode
    hits = {
        id_: rag.search(text, top_k=DEPTH, mode=leg, rerank=mode == "hybrid+rerank")
        for id_, text in judged.queries.items()
    }
    return Ranking(
        f"{profile}, {mode}",
        {id_: rank_pages(found) for id_, found in hits.items()},
        {id_: rank_pages(found[:5]) for id_, found in hits.items()},
    )


def search_pages(judged: JudgedSet) -> Ranking:
    """Rank the page texts of the set by the product's BM25 alone, each page one passage."""
    encoder = Bm25Encoder("en")
    vectors = encoder.encode_passages(list(judged.passages.values()))
    pages = {
        page: dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
        for page, vector in zip(judged.passages, vectors, strict=True)
    }
    holders = Counter(term for terms in pages.values() for term in terms)
    idf = {term: math.log((len(pages) - n + 0.5) / (n + 0.5) + 1) for term, n in holders.items()}
    ranked = {}
    for id_, text in judged.queries.items():
        asked = encoder.encode_queries([text])[0].indices.tolist()
        scores = {
            page: sum(terms.get(term, 0.0) * idf.get(term, 0.0) for term in asked) for page, terms in pages.items()
        }
        ranked[id_] = sorted((page for page in pages if scores[page] > 0), key=lambda page: (-scores[page], page))
    return Ranking("BM25 over pages", ranked, {id_: found[:5] for id_, found in ranked.items()})


def first_rank(ranking: Sequence[str], wanted: Iterable[str]) -> int | None:
    """Return the rank of the best wanted page, None where there is none."""
    return next((rank for rank, page in enumerate(ranking, start=1) if page in wanted), None)


def print_measures(judged: JudgedSet, rankings: Sequence[Ranking]) -> None:
    """Print the first table; a question that finds nothing counts as zero."""
    print(f"\n| {len(judged.queries)} questions | in the top 5 | by 5 hits | right file first | nDCG@10 |")
    print("|---|---|---|---|---|")
    for ranking in rankings:
        ranks = {id_: first_rank(ranking.pages[id_], judged.qrels[id_]) for id_ in judged.queries}
        top5 = sum(rank is not None and rank <= 5 for rank in ranks.values())
        by_hits = sum(first_rank(ranking.first_hits[id_], judged.qrels[id_]) is not None for id_ in judged.queries)
        files = sum(
            ranking.pages[id_][:1] != [] and stem(ranking.pages[id_][0]) in map(stem, judged.qrels[id_])
            for id_ in judged.queries
        )
        run = {
            id_: {page: 1 / rank for rank, page in enumerate(ranking.pages[id_], start=1)} or {"": 0.0}
            for id_ in judged.queries
        }
        ndcg = ir_measures.calc_aggregate([nDCG @ 10], judged.qrels, run)[nDCG @ 10]
        print(f"| {ranking.name} | {top5} ({top5 / len(ranks):.0%}) | {by_hits} | {files} | {ndcg:.4f} |", flush=True)


def stem(page: str) -> str:
    """Return the file of a page."""
    return page.rpartition("#")[0]


def print_questions(judged: JudgedSet, rankings: Sequence[Ranking]) -> None:
    """Print the second table: the rank of each question's evidence page."""
    print(f"\n| question | evidence | {' | '.join(ranking.name for ranking in rankings)} |")
    print("|---" * (2 + len(rankings)) + "|")
    for id_, text in judged.queries.items():
        wanted = judged.qrels[id_]
        ranks = [str(first_rank(ranking.pages[id_], wanted) or "-") for ranking in rankings]
        print(f"| {text[:90]} | {', '.join(sorted(wanted))} | {' | '.join(ranks)} |", flush=True)


def save_pictures(rag: RagPipeline, judged: JudgedSet, folder: Path) -> None:
    """Write the pages of the two best hits of each question, with their quotes marked."""
    folder.mkdir(parents=True, exist_ok=True)
    for id_, text in judged.queries.items():
        for hit in rag.search(text, top_k=2):
            hit.page_image().save(folder / f"{id_}-{hit.rank}-{Path(hit.path).stem}-page-{hit.page}.png")


def main() -> None:
    """Ingest, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", nargs="+", default=["compact", "minilm"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--index", type=Path, help="folder of the indexes, one a profile; one that is there is kept")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the best hits, by the first profile")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = open_set(chosen.data, SET, Path(scratch))
        judged = read_beir(folder / "pages")
        rankings = [search_pages(judged)]
        for profile in chosen.profiles:
            index = (chosen.index or Path(scratch)) / profile
            with RagPipeline.from_config(ROOT / "configs" / f"{profile}.yaml", index=index) as rag:
                report = rag.ingest(folder / "pdfs", retry_quarantined=True)
                if report.quarantine:
                    raise SystemExit(f"{report.quarantine[0]}: the figures would be of fewer files")
                modes = parse_modes("", can_rerank=rag.settings.reranker is not None)
                rankings += [search(rag, judged, mode, profile) for mode in modes]
                if chosen.pictures and profile == chosen.profiles[0]:
                    save_pictures(rag, judged, chosen.pictures)
        print_measures(judged, rankings)
        print_questions(judged, rankings)


if __name__ == "__main__":
    main()
