use tower_refresh::{Session, Token};

fn session(token: Token) -> Session {
    Session::new(token, || async { Token::bearer("at-2") })
}

fn main() {}
