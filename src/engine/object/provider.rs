//! Which annotations do IRSA, kube2iam and kiam read, and on which objects?

/// A program that turns an annotation into AWS credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// IAM roles for service accounts. The EKS pod-identity webhook reads the ServiceAccount.
    Irsa,
    /// kube2iam reads the Pod.
    Kube2iam,
    /// kiam reads the Pod, under kube2iam's keys.
    Kiam,
}

/// The annotations of one provider on one kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    /// The key of the role.
    pub role: &'static str,
    /// The options that go with the role and come off with it.
    pub options: &'static [RoleOption],
    /// The keys that the provider reads although we never write them. `remove` takes them off as well.
    pub read_only: &'static [&'static str],
}

/// What a rule can set beside a role, by the annotation that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleOption {
    /// `eks.amazonaws.com/audience`
    IrsaAudience,
    /// `eks.amazonaws.com/sts-regional-endpoints`
    IrsaStsRegionalEndpoints,
    /// `eks.amazonaws.com/token-expiration`
    IrsaTokenExpiration,
    /// `eks.amazonaws.com/skip-containers`
    IrsaSkipContainers,
    /// `iam.amazonaws.com/external-id`
    PodExternalId,
    /// `iam.amazonaws.com/session-name`
    PodSessionName,
}

impl RoleOption {
    /// Returns the key of its annotation.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::IrsaAudience => "eks.amazonaws.com/audience",
            Self::IrsaStsRegionalEndpoints => "eks.amazonaws.com/sts-regional-endpoints",
            Self::IrsaTokenExpiration => "eks.amazonaws.com/token-expiration",
            Self::IrsaSkipContainers => "eks.amazonaws.com/skip-containers",
            Self::PodExternalId => "iam.amazonaws.com/external-id",
            Self::PodSessionName => "iam.amazonaws.com/session-name",
        }
    }
}

/// `eks.amazonaws.com/role-arn`
pub const IRSA_ROLE: &str = "eks.amazonaws.com/role-arn";
/// `iam.amazonaws.com/role`
pub const POD_ROLE: &str = "iam.amazonaws.com/role";

/// The audience of the tokens of IRSA where nobody names another one. STS asks for it.
pub const STS_AUDIENCE: &str = "sts.amazonaws.com";

const IRSA_ON_SERVICE_ACCOUNTS: Keys = Keys {
    role: IRSA_ROLE,
    options: &[
        RoleOption::IrsaAudience,
        RoleOption::IrsaStsRegionalEndpoints,
        RoleOption::IrsaTokenExpiration,
    ],
    read_only: &[],
};
const IRSA_ON_PODS: Keys = Keys {
    role: IRSA_ROLE,
    options: &[RoleOption::IrsaSkipContainers],
    read_only: &[RoleOption::IrsaTokenExpiration.key()],
};
const KUBE2IAM_ON_PODS: Keys = Keys {
    role: POD_ROLE,
    options: &[RoleOption::PodExternalId, RoleOption::PodSessionName],
    read_only: &[],
};

impl Provider {
    /// All providers.
    pub const ALL: [Self; 3] = [Self::Irsa, Self::Kube2iam, Self::Kiam];

    /// Returns the name that a mapping uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Irsa => "irsa",
            Self::Kube2iam => "kube2iam",
            Self::Kiam => "kiam",
        }
    }

    /// Returns the keys on ServiceAccounts, where kube2iam and kiam have none.
    #[must_use]
    pub fn service_account_keys(self) -> Option<&'static Keys> {
        (self == Self::Irsa).then_some(&IRSA_ON_SERVICE_ACCOUNTS)
    }

    /// Returns the keys on Pods.
    #[must_use]
    pub fn pod_keys(self) -> &'static Keys {
        match self {
            Self::Irsa => &IRSA_ON_PODS,
            Self::Kube2iam | Self::Kiam => &KUBE2IAM_ON_PODS,
        }
    }
}

impl Keys {
    /// Returns the keys of the role and of its options.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.role).chain(self.options.iter().map(|option| option.key()))
    }
}

/// A set of providers, such as those that a rule decides for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderSet(u8);

impl ProviderSet {
    /// The set of all providers.
    pub const ALL: Self = Self(0b111);

    /// Adds a provider.
    #[must_use]
    pub fn with(self, provider: Provider) -> Self {
        Self(self.0 | 1 << provider as u8)
    }

    /// Whether the set holds this provider.
    #[must_use]
    pub fn contains(self, provider: Provider) -> bool {
        self.0 & 1 << provider as u8 != 0
    }

    /// Whether the set holds all providers of another.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Returns the providers one after the other.
    pub fn iter(self) -> impl Iterator<Item = Provider> {
        Provider::ALL.into_iter().filter(move |provider| self.contains(*provider))
    }
}
