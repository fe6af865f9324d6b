//! Lists of other people's lines against a small runtime with and without its defences.

use std::path::Path;
use std::sync::Arc;

use clawproof::corpus::Surface;
use clawproof::scenario::{Lab, Trouble};
use clawproof::target::binary::Program;
use clawproof::target::manifest::Manifest;
use clawproof::wordlist::{List, Played, play};

use super::fake;

const READ: Surface = Surface::ToolPathRead;
const WRITE: Surface = Surface::ToolPathWrite;

/// Line 3 is not UTF-8, line 6 names nothing, line 7 stays inside.
const LINES: &[u8] = b"../outside/k\nnone.txt\n..\xc0\xaf..\xc0\xafetc/passwd\n\
../../../../../../../../etc/passwd\n/{FILE}\n# a comment\nsub/../none\n";

async fn played(mode: &str, surface: Surface, most: usize) -> Result<Played, Trouble> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.txt");
    std::fs::write(&path, LINES).unwrap();
    let list = List::load(&path, None).unwrap();
    let manifest = Manifest::parse(&fake::manifest(mode), Path::new("fake")).unwrap();
    let own = std::env::current_exe().unwrap();
    let program = Program::find(&manifest, Some(&own)).unwrap();
    let lab = Lab::new(Arc::new(manifest), program.path().to_owned(), None);
    play(&lab, &list, surface, 2, most).await
}

fn lines(played: &Played) -> Vec<usize> {
    played.escapes.iter().map(|escape| escape.line).collect()
}

#[tokio::test]
async fn a_runtime_with_its_defences_lets_no_line_out() {
    for surface in [READ, WRITE] {
        let played = played("guarded", surface, 100).await.unwrap();
        assert_eq!(lines(&played), [] as [usize; 0], "{played:?}");
        assert_eq!((played.aimed, played.at_once, played.cut_short), (3, 31, false));
        assert!(played.ended.is_empty(), "{played:?}");
    }
}

#[tokio::test]
async fn the_lines_that_lead_out_of_a_naive_one_are_named() {
    let read = played("naive", READ, 100).await.unwrap();
    assert_eq!(lines(&read), [1, 4, 5], "{read:?}");
    assert!(read.escapes[1].id.starts_with("X-lines-"), "{read:?}");
    assert_eq!((read.played, read.reachable), (6, 3), "{read:?}");
    let written = played("naive", WRITE, 100).await.unwrap();
    assert_eq!(lines(&written), [4, 5], "{written:?}");
    assert_eq!((written.played, written.left_out), (3, 3), "{written:?}");
    let early = played("naive", WRITE, 1).await.unwrap();
    assert_eq!((early.escapes.len(), early.cut_short), (1, true), "{early:?}");
}

#[tokio::test]
async fn a_target_that_does_nothing_is_no_target_that_lets_nothing_out() {
    let refused = played("refuse", READ, 100).await;
    assert!(matches!(refused, Err(Trouble::Inconclusive(_))), "{refused:?}");
}
