use tower_refresh::{RefreshLayer, head::ResponseHead};

fn layer(layer: RefreshLayer) -> RefreshLayer {
    layer.detect(|response: &ResponseHead<'_>| response.status() == 419)
}

fn main() {}
