"""Does in the engine what the manifest says is still to be done: points that are to go, or show what no longer holds.

Enters: a manifest in which versions are ``moved`` or ``removing``. Leaves: an engine that agrees with it. Every step
may be repeated, so a crash anywhere costs nothing but the repetition. This module knows nothing of files and models.
"""

from __future__ import annotations

from pathlib import Path

from rag_pipeline.documents.facts import facts_of
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.protocols import Store
from rag_pipeline.store.payload import fact_indexes, moved_payload

__all__ = ["reconcile"]


def reconcile(store: Store, manifest: Manifest, figures_dir: Path) -> None:
    """Make the engine and the folder of pictures agree with the manifest, then say so there."""
    _show(store, manifest)
    _remove(store, manifest, figures_dir)


def _show(store: Store, manifest: Manifest) -> None:
    moved = [(version, manifest.places_of(version.document_id)) for version in manifest.versions("moved")]
    for version, places in moved:
        facts = facts_of(version.facts, places.values())
        store.index_payload(fact_indexes(facts))
        for record in store.retrieve(version.point_ids):
            store.set_payload([record.id], moved_payload(record.payload, places, facts))
    if moved:
        store.flush()
    for version, places in moved:
        manifest.show(version, places)


def _remove(store: Store, manifest: Manifest, figures_dir: Path) -> None:
    removing = manifest.versions("removing")
    if not removing:
        return
    for version in removing:
        # Another version of the same document shares the points whose text and position did not change.
        kept = {
            point
            for other in manifest.versions_of(version.document_id)
            if other.state != "removing"
            for point in other.point_ids
        }
        store.delete([point for point in version.point_ids if point not in kept])
    store.flush()
    pictures = {name for version in removing for name in version.figures}
    if pictures:
        staying = manifest.versions("writing", "ready", "moved")
        for name in sorted(pictures - {name for version in staying for name in version.figures}):
            (figures_dir / name).unlink(missing_ok=True)
    manifest.drop(removing)
