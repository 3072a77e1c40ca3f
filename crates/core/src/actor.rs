//! Who must act after a failure.

/// Who must act after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The person or device that logs in.
    ClientOwner,
    /// The administrator of Gatepost.
    GatepostAdmin,
    /// The administrator of the tenant, in Entra or Exchange.
    M365Admin,
    /// The administrator of the corporate proxy or network.
    NetworkAdmin,
    /// Nobody: what failed is retried.
    Nobody,
    /// Gatepost's developers.
    Bug,
}

impl Actor {
    /// All of them.
    const ALL: [Self; 6] =
        [Self::ClientOwner, Self::GatepostAdmin, Self::M365Admin, Self::NetworkAdmin, Self::Nobody, Self::Bug];

    /// The actor with this [`Actor::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|actor| actor.name() == name)
    }

    /// The value of `action_by` in logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientOwner => "client-owner",
            Self::GatepostAdmin => "gatepost-admin",
            Self::M365Admin => "m365-admin",
            Self::NetworkAdmin => "network-admin",
            Self::Nobody => "none",
            Self::Bug => "bug",
        }
    }

    /// The label in front of a remedy.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientOwner => "Device owner",
            Self::GatepostAdmin => "Gatepost admin",
            Self::M365Admin => "Microsoft 365 admin",
            Self::NetworkAdmin => "Network admin",
            Self::Nobody => "No action needed",
            Self::Bug => "Gatepost bug",
        }
    }
}
