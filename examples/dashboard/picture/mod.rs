//! The picture of the first two scenes, on one time axis.

mod chart;
mod svg;

pub(crate) use self::chart::draw;
