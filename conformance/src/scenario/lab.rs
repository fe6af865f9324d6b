//! The laboratory that scenarios work in: fresh, isolated targets with the suite's stage beside them.
//! It must never know a verdict.

/// Makes targets for one case. Cheap to clone; everything it made ends when the last clone does.
#[derive(Clone, Debug, Default)]
pub struct Lab {
    _private: (),
}
