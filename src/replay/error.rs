use std::{error, fmt};

/// The reason why an attempt at an upload ends with an error that isn't the source's own.
///
/// HTTP clients return it as the `source()` of their own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadError {
    /// The replay has taken over while the first attempt was uploading.
    TakenOver,
    /// The source has panicked. It may have lost a frame, so it is not polled again.
    Panicked,
}

// === impl UploadError ===

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TakenOver => "upload was taken over by the replay",
            Self::Panicked => "request body panicked",
        })
    }
}

impl error::Error for UploadError {}
