//! Trait implementations that are part of the API.

use std::{error::Error, fmt};

use http::Request;
use tower::{BoxError, util::BoxCloneService};
use tower_refresh::{
    Refresher,
    exchange::{GivenUp, InvalidUrl, RequestBody},
    oauth2::{
        Classify, ClassifyFn, ClientAuth, ClientCredentialsGrant, DefaultClassify, EndpointUrl,
        RefreshTokenGrant, Revocation, RevocationError, Secret, TokenEndpoint,
    },
};

use crate::hand::Answer;

const _: fn() = || {
    is_clone::<ClientAuth>();
    is_clone::<ClientCredentialsGrant>();
    is_clone::<EndpointUrl>();
    is_clone::<RequestBody>();
    is_clone::<RefreshTokenGrant>();
    is_clone::<Revocation>();
    is_clone::<Secret>();
    is_clone::<DefaultClassify>();
    is_clone::<ClassifyFn<fn()>>();
    is_clone::<TokenEndpoint>();
    is_error::<GivenUp>();
    is_error::<InvalidUrl>();
    is_error::<RevocationError>();
    is_sync::<Box<dyn Classify>>();
    is_refresher::<RefreshTokenGrant>();
    is_refresher::<ClientCredentialsGrant>();
    // An HTTP client has to be `Clone` and `Send`, and no more.
    let _ = |service: BoxCloneService<Request<RequestBody>, Answer, BoxError>, url: EndpointUrl| {
        drop(Revocation::new(service.clone(), url.clone(), ClientAuth::public("me")));
        TokenEndpoint::new(service, url, ClientAuth::public("me"))
    };
};

fn is_clone<T: Clone + fmt::Debug + Send + Sync + 'static>() {}
fn is_error<T: Error + Send + Sync + 'static>() {}
fn is_sync<T: Send + Sync + 'static>() {}
fn is_refresher<T: Refresher>() {}
