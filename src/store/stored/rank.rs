/// The place of a content among all contents of a name. A greater rank is newer.
///
/// A content gets its rank once, from the driver that brings it, and keeps it when it is written
/// again. Ranks compare by their fields, in this order. That puts
///
/// - a login above all logins that began before it,
/// - a credential above the one that it was exchanged for,
/// - a refusal above the refused credential, and below the credential that another driver may have
///   got for it,
/// - a logout above all credentials of its login, and above all logins that began before it.
///
/// Equal ranks have equal contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank {
    /// The time when the login began, or when the application logged out, in microseconds since
    /// 1970. More where the clock of the driver is behind a login that it knows.
    pub(super) login: u64,
    /// The number of exchanges since the login began.
    pub(super) depth: u64,
    /// A random number of the exchange or the login that brought the content: tells contents apart
    /// that two drivers brought from one credential.
    pub(super) author: u64,
    /// The login ends here.
    pub(super) is_end: bool,
}

// === impl Rank ===

impl Rank {
    /// The rank of a refusal where no stored login was refused: below all others.
    pub(super) const LOWEST_END: Self = Self { login: 0, depth: 0, author: 0, is_end: true };

    /// The rank of a credential that begins a login.
    pub(super) const fn login(login: u64, author: u64) -> Self {
        Self { login, depth: 0, author, is_end: false }
    }

    /// The rank of a logout.
    pub(super) const fn logout(login: u64) -> Self {
        Self { login, depth: u64::MAX, author: u64::MAX, is_end: true }
    }

    /// The rank of a credential that was exchanged for this one.
    pub(super) const fn exchanged(self, author: u64) -> Self {
        let depth = self.depth.saturating_add(1);
        Self { depth, author, ..self }
    }

    /// The rank of the refusal of this credential.
    pub(super) const fn refused(self) -> Self {
        Self { is_end: true, ..self }
    }

    pub(super) fn is_logout(self) -> bool {
        self == Self::logout(self.login)
    }
}
