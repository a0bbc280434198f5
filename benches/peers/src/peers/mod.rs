//! One peer per file, used as its documentation says.

mod azure_core;
mod cf_gears;
mod huskarl;
mod kube;
mod reqwest_middleware;
mod tower_refresh;
mod tower_retry;

pub(crate) use azure_core::{AzureCore, AzureCoreChallenged};
pub(crate) use cf_gears::CfGears;
pub(crate) use huskarl::Huskarl;
pub(crate) use kube::Kube;
pub(crate) use reqwest_middleware::{ReqwestChecked, ReqwestMutex};
pub(crate) use tower_refresh::TowerRefresh;
pub(crate) use tower_retry::TowerRetry;
