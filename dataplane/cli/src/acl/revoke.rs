//! `lograft acl revoke`, `restore` and `revocations`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use lograft_client::AccessAdmin;
use lograft_client::acl::{Principal, Serial};
use lograft_client::admin_wire::{ChangeRevocationsRequest, RevokedPrincipal, RevokedSerial};
use x509_parser::pem::parse_x509_pem;

use super::render;
use crate::call_error::cannot;
use crate::clock::now_s;
use crate::error::{CliError, CommandError};
use crate::output::{Paint, print, print_json};

/// Options of `lograft acl revoke`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("revoked").required(true).args(["principal", "certificate"])))]
pub(crate) struct RevokeArgs {
    /// Principal, e.g. user/orders: revokes its certificates that are valid since before now
    principal: Option<Principal>,
    /// Revoke this certificate alone, a PEM file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Revoke all certificates of the principal, also those that are issued later
    #[arg(long, conflicts_with = "certificate")]
    suspend: bool,
}

/// Options of `lograft acl restore`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("restored").required(true).args(["principal", "serial"])))]
pub(crate) struct RestoreArgs {
    /// Principal, e.g. user/orders
    principal: Option<Principal>,
    /// Serial number of a certificate, as `lograft acl revocations` shows it
    #[arg(long, value_name = "HEX")]
    serial: Option<Serial>,
}

/// Why a certificate cannot be revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateFileError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} contains no certificate in PEM")]
    Malformed { path: PathBuf },
}

impl CommandError for CertificateFileError {}

pub(super) async fn revoke(access: &AccessAdmin, args: RevokeArgs) -> Result<(), CliError> {
    let RevokeArgs {
        principal,
        certificate,
        suspend,
    } = args;
    let mut request = ChangeRevocationsRequest::default();
    let mut done = String::new();
    if let Some(principal) = principal {
        done = if suspend {
            format!("{principal} suspended")
        } else {
            format!("certificates of {principal} revoked that are valid since before now")
        };
        request.revoke_principals.push(RevokedPrincipal {
            not_after_s: None,
            principal: principal.to_string(),
            not_before_s: now_s(),
            suspended: suspend,
        });
    }
    if let Some(path) = certificate {
        let revoked = read_certificate(&path)?;
        done = format!(
            "certificate with the serial number {} revoked",
            revoked.serial
        );
        request.revoke_serials.push(revoked);
    }
    change(access, request, &done).await
}

pub(super) async fn restore(access: &AccessAdmin, args: RestoreArgs) -> Result<(), CliError> {
    let RestoreArgs { principal, serial } = args;
    let request = ChangeRevocationsRequest {
        allow_principals: principal.iter().map(ToString::to_string).collect(),
        allow_serials: serial.iter().map(ToString::to_string).collect(),
        ..ChangeRevocationsRequest::default()
    };
    change(access, request, "revocation taken back").await
}

pub(super) async fn list(access: &AccessAdmin, json: bool) -> Result<(), CliError> {
    let reply = access.list_revocations().await;
    let reply = reply.map_err(cannot("list revocations"))?;
    if json {
        return print_json(&render::revocations_json(reply));
    }
    print(&render::revocations(&reply, Paint::stdout()))
}

async fn change(
    access: &AccessAdmin,
    request: ChangeRevocationsRequest,
    done: &str,
) -> Result<(), CliError> {
    let changed = access.change_revocations(request).await;
    changed.map_err(cannot("change revocations"))?;
    print(&format!("{done}\n"))
}

fn read_certificate(path: &Path) -> Result<RevokedSerial, CertificateFileError> {
    let bytes = std::fs::read(path).map_err(|source| CertificateFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let malformed = || CertificateFileError::Malformed {
        path: path.to_owned(),
    };
    let (_, pem) = parse_x509_pem(&bytes).map_err(|_| malformed())?;
    let certificate = pem.parse_x509().map_err(|_| malformed())?;
    Ok(RevokedSerial {
        serial: Serial::from_bytes(certificate.raw_serial()).to_string(),
        not_after_s: certificate.validity().not_after.timestamp(),
    })
}
