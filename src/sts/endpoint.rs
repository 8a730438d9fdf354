//! Where is STS asked for a role?
//!
//! The suffixes and the regions' names are those of botocore 1.44.5, `botocore/data/partitions.json`, from
//! which all of AWS's SDKs take them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// A partition of AWS: how its regions begin, and how its names end.
struct Partition {
    name: &'static str,
    regions: &'static [&'static str],
    suffix: &'static str,
}

const PARTITIONS: [Partition; 8] = [
    Partition {
        name: "aws",
        regions: &["us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-"],
        suffix: "amazonaws.com",
    },
    Partition { name: "aws-cn", regions: &["cn-"], suffix: "amazonaws.com.cn" },
    Partition { name: "aws-us-gov", regions: &["us-gov-"], suffix: "amazonaws.com" },
    Partition { name: "aws-iso", regions: &["us-iso-"], suffix: "c2s.ic.gov" },
    Partition { name: "aws-iso-b", regions: &["us-isob-"], suffix: "sc2s.sgov.gov" },
    Partition { name: "aws-iso-e", regions: &["eu-isoe-"], suffix: "cloud.adc-e.uk" },
    Partition { name: "aws-iso-f", regions: &["us-isof-"], suffix: "csp.hci.ic.gov" },
    Partition { name: "aws-eusc", regions: &["eusc-"], suffix: "amazonaws.eu" },
];

/// A region of AWS. Whether there is one of this name only AWS knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

/// The address of STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why STS cannot be asked there. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no name of a region.
    #[error("a region has only the letters a to z, digits and -, as eu-west-1")]
    Region,
    /// It is no URL that STS could have.
    #[error(
        "an endpoint is a URL without a user, a query and a path, as https://sts.eu-west-1.amazonaws.com"
    )]
    Url,
    /// A token would be sent where others can read it.
    #[error("a token is a credential: only https:// is taken, and http:// on loopback alone")]
    Plain,
    /// The partition has no endpoint for all its regions.
    #[error("roles of the partition {0} need a region: name it with --region or AWS_REGION")]
    NoRegion(String),
    /// The region is one of another partition.
    #[error("the region {region} is not one of the role's partition {partition}: name one with --region")]
    OtherPartition {
        /// The region.
        region: String,
        /// The partition of the role.
        partition: String,
    },
}

impl FromStr for Region {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if text.len() <= 32 && text.contains('-') && text.split('-').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EndpointError::Region)
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Region {
    /// Returns the partition: the one whose beginning is the longest, as `us-gov-` before `us-`.
    fn partition(&self) -> Option<&'static Partition> {
        let begins = |partition: &&'static Partition| {
            let longest = partition.regions.iter().filter(|begin| self.0.starts_with(**begin));
            longest.map(|begin| begin.len()).max()
        };
        PARTITIONS.iter().filter(|partition| begins(partition).is_some()).max_by_key(|found| begins(found))
    }
}

impl Endpoint {
    /// The endpoint of AWS for roles of a partition. Without a region it is the global one, which only the
    /// partition `aws` has.
    ///
    /// # Errors
    /// When the region is missing, or is one of another partition.
    pub(super) fn of(partition: &str, region: Option<&Region>) -> Result<Self, EndpointError> {
        let Some(region) = region else {
            return match partition {
                "aws" => Ok(Self(Uri::from_static("https://sts.amazonaws.com"))),
                other => Err(EndpointError::NoRegion(other.to_owned())),
            };
        };
        // A region that nobody knows yet is one of the role's own partition.
        let known = region.partition().map_or(partition, |found| found.name);
        let suffix = PARTITIONS.iter().find(|found| found.name == partition && known == partition);
        let url = suffix.map(|found| format!("https://sts.{region}.{}", found.suffix));
        url.and_then(|url| url.parse().ok()).map(Self).ok_or_else(|| EndpointError::OtherPartition {
            region: region.to_string(),
            partition: partition.to_owned(),
        })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EndpointError::Url);
        };
        if authority.as_str().contains('@') || uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(EndpointError::Url);
        }
        match scheme {
            "https" => Ok(Self(uri)),
            "http" if is_loopback(authority.host()) => Ok(Self(uri)),
            _ => Err(EndpointError::Plain),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.trim_end_matches('/'))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rules::arn;

    fn of(partition: &str, region: &str) -> Result<String, EndpointError> {
        let region: Option<Region> = (!region.is_empty()).then(|| region.parse().unwrap());
        Endpoint::of(partition, region.as_ref()).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn every_partition_has_its_endpoint_and_only_aws_has_one_without_a_region() {
        assert!(PARTITIONS.iter().all(|partition| arn::PARTITIONS.contains(&partition.name)));
        assert_eq!(PARTITIONS.len(), arn::PARTITIONS.len());
        for (partition, region, want) in [
            ("aws", "", "https://sts.amazonaws.com"),
            ("aws", "eu-west-1", "https://sts.eu-west-1.amazonaws.com"),
            ("aws", "xx-new-1", "https://sts.xx-new-1.amazonaws.com"),
            ("aws-cn", "cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
            ("aws-us-gov", "us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
            ("aws-iso", "us-iso-east-1", "https://sts.us-iso-east-1.c2s.ic.gov"),
            ("aws-iso-b", "us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov"),
            ("aws-iso-e", "eu-isoe-west-1", "https://sts.eu-isoe-west-1.cloud.adc-e.uk"),
            ("aws-iso-f", "us-isof-south-1", "https://sts.us-isof-south-1.csp.hci.ic.gov"),
            ("aws-eusc", "eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(of(partition, region).as_deref(), Ok(want));
        }
        assert_eq!(of("aws-cn", ""), Err(EndpointError::NoRegion("aws-cn".to_owned())));
        for (partition, region) in
            [("aws-cn", "eu-west-1"), ("aws", "us-gov-west-1"), ("aws-iso", "us-isob-east-1")]
        {
            assert!(matches!(of(partition, region), Err(EndpointError::OtherPartition { .. })), "{region}");
        }
    }

    #[test]
    fn a_region_cannot_lead_to_another_host() {
        for text in
            ["", "eu", "eu-", "-eu", "eu--1", "EU-WEST-1", "eu-west-1.example.com", "a-b/x", "a-b#", "a-b@c"]
        {
            assert_eq!(text.parse::<Region>(), Err(EndpointError::Region), "{text}");
        }
    }

    #[test]
    fn a_token_goes_over_https_and_in_plain_on_loopback_alone() {
        for good in ["https://sts.example.com", "https://vpce-1.sts.eu-west-1.vpce.amazonaws.com:443/"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for good in ["http://127.0.0.1:5000", "http://[::1]:5000", "http://localhost"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "http://sts.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://a",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError::Plain), "{bad}");
        }
        for bad in
            ["", "sts.example.com", "/x", "https://", "https://a@b", "https://a?b", "https://a/b", "a b"]
        {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError::Url), "{bad}");
        }
    }
}
