//! `status.notes`: what nobody has to repair, but should know.

use lograft_crds::limits::{BLOCKED_MESSAGE_MAX_BYTES, NOTES_MAX_COUNT};
use lograft_crds::log_cluster::Note;

use crate::cluster::observed::Observed;
use crate::text::cut_words;

/// The notes of the nodes. Without an answer the last ones stay: otherwise they would come and go
/// with the answers.
pub(super) fn next(old: &[Note], observed: &Observed) -> Vec<Note> {
    let Some(view) = &observed.view else {
        return old.to_vec();
    };
    let notes = view.notes.iter().take(NOTES_MAX_COUNT).map(|note| {
        let sentence = format!("{}; next step: {}", note.text, note.next_step);
        Note {
            check: note.check.clone(),
            message: cut_words(&sentence, BLOCKED_MESSAGE_MAX_BYTES),
        }
    });
    notes.collect()
}
