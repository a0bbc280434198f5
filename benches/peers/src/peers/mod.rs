//! The peers, one per file, each used as its documentation says.

mod azure_core;
mod by_hand;
mod cf_gears;
mod kube;
mod reqwest_middleware;
mod tower_refresh;

pub(crate) use azure_core::{AzureCore, AzureCoreChallenged};
pub(crate) use by_hand::ByHand;
pub(crate) use cf_gears::CfGears;
pub(crate) use kube::Kube;
pub(crate) use reqwest_middleware::{ReqwestChecked, ReqwestMutex};
pub(crate) use tower_refresh::TowerRefresh;
