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
