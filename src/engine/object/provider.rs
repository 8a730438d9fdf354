//! Who reads the annotations, on which objects, under which keys?

/// What turns an annotation into AWS credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// IAM roles for service accounts: the EKS pod-identity webhook reads the ServiceAccount.
    Irsa,
    /// kube2iam reads the Pod.
    Kube2iam,
    /// kiam reads the Pod, under kube2iam's keys.
    Kiam,
}

/// The annotations of one provider on one kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    /// The role.
    pub role: &'static str,
    /// Everything that goes with the role and comes off with it.
    pub options: &'static [&'static str],
    /// What is read there although we never write it: `remove` takes it off as well.
    pub read_only: &'static [&'static str],
}

/// `eks.amazonaws.com/audience`
pub const IRSA_AUDIENCE: &str = "eks.amazonaws.com/audience";
/// `eks.amazonaws.com/sts-regional-endpoints`
pub const IRSA_STS_REGIONAL_ENDPOINTS: &str = "eks.amazonaws.com/sts-regional-endpoints";
/// `eks.amazonaws.com/token-expiration`
pub const IRSA_TOKEN_EXPIRATION: &str = "eks.amazonaws.com/token-expiration";
/// `eks.amazonaws.com/skip-containers`
pub const IRSA_SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";
/// `iam.amazonaws.com/external-id`
pub const POD_EXTERNAL_ID: &str = "iam.amazonaws.com/external-id";
/// `iam.amazonaws.com/session-name`
pub const POD_SESSION_NAME: &str = "iam.amazonaws.com/session-name";

/// `eks.amazonaws.com/role-arn`
pub const IRSA_ROLE: &str = "eks.amazonaws.com/role-arn";
/// `iam.amazonaws.com/role`
pub const POD_ROLE: &str = "iam.amazonaws.com/role";

const IRSA_ON_SERVICE_ACCOUNTS: Keys = Keys {
    role: IRSA_ROLE,
    options: &[IRSA_AUDIENCE, IRSA_STS_REGIONAL_ENDPOINTS, IRSA_TOKEN_EXPIRATION],
    read_only: &[],
};
const IRSA_ON_PODS: Keys =
    Keys { role: IRSA_ROLE, options: &[IRSA_SKIP_CONTAINERS], read_only: &[IRSA_TOKEN_EXPIRATION] };
const KUBE2IAM_ON_PODS: Keys =
    Keys { role: POD_ROLE, options: &[POD_EXTERNAL_ID, POD_SESSION_NAME], read_only: &[] };

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 3] = [Self::Irsa, Self::Kube2iam, Self::Kiam];

    /// The name in a mapping.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Irsa => "irsa",
            Self::Kube2iam => "kube2iam",
            Self::Kiam => "kiam",
        }
    }

    /// The keys on ServiceAccounts; kube2iam and kiam have none there.
    #[must_use]
    pub fn service_account_keys(self) -> Option<&'static Keys> {
        (self == Self::Irsa).then_some(&IRSA_ON_SERVICE_ACCOUNTS)
    }

    /// The keys on Pods.
    #[must_use]
    pub fn pod_keys(self) -> &'static Keys {
        match self {
            Self::Irsa => &IRSA_ON_PODS,
            Self::Kube2iam | Self::Kiam => &KUBE2IAM_ON_PODS,
        }
    }
}

impl Keys {
    /// Whether `key` is one of them.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.role == key || self.options.contains(&key)
    }

    /// All of them, the role first.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.role).chain(self.options.iter().copied())
    }
}

/// Which providers a rule speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderSet(u8);

impl ProviderSet {
    /// irsa, kube2iam and kiam.
    pub const ALL: Self = Self(0b111);

    /// With one more.
    #[must_use]
    pub fn with(self, provider: Provider) -> Self {
        Self(self.0 | 1 << provider as u8)
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(self, provider: Provider) -> bool {
        self.0 & 1 << provider as u8 != 0
    }

    /// Whether all of `other` are in.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Provider> {
        Provider::ALL.into_iter().filter(move |provider| self.contains(*provider))
    }
}
