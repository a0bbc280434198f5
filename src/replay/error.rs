use std::{error, fmt};

/// Why a copy of an upload ended early, for a reason that isn't the source's own error.
///
/// Inside the `BoxError` of a body; HTTP clients pass it on as the `source()` of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadError {
    /// The first attempt was still uploading when the replay went on in its place.
    TakenOver,
    /// The source panicked. It may have lost a frame by that, so that nobody polls it again.
    Panicked,
}

// === impl UploadError ===

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UploadError::TakenOver => "upload was taken over by the replay",
            UploadError::Panicked => "request body panicked",
        })
    }
}

impl error::Error for UploadError {}
