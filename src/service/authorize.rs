//! Who may call what: the one place where it is decided. The default is refusal.

use super::{Error, Service};
use crate::domain::{
    id::{Actor, SecretHash},
    time::Timestamp,
};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    principal: Principal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Principal {
    Operator,
    Service,
}

/// What a method needs. Member roles, when they come, are further principals here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// Decide and settle: for service tokens.
    DataPlane,
    /// Everything else: for the operator.
    Operate,
    /// Anybody who is known.
    Known,
}

/// By the path of the gRPC call, `/package.Service/Method`.
fn permission(path: &str) -> Option<Permission> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    if let Some(service) = service.strip_prefix("quotad.v1.") {
        return match service {
            "QuotaService" => Some(Permission::DataPlane),
            "OrganizationService"
            | "TeamService"
            | "MemberService"
            | "KeyService"
            | "PriceService"
            | "WalletService"
            | "LedgerService"
            | "TokenService" => Some(Permission::Operate),
            _ => None,
        };
    }
    let reflection = service.starts_with("grpc.reflection.") && method == "ServerReflectionInfo";
    reflection.then_some(Permission::Known)
}

impl Service {
    /// Tells who calls by the bearer token, and whether they may call `path`.
    ///
    /// # Errors
    /// [`Error::TokenMissing`], [`Error::TokenUnknown`] or [`Error::PermissionDenied`].
    pub fn authorize(&self, token: Option<&str>, path: &str) -> Result<Caller, Error> {
        let caller = self.identify(SecretHash::of(token.ok_or(Error::TokenMissing)?))?;
        match (permission(path), caller.principal) {
            (Some(Permission::Known), _)
            | (Some(Permission::DataPlane), Principal::Service)
            | (Some(Permission::Operate), Principal::Operator) => Ok(caller),
            (Some(Permission::DataPlane), Principal::Operator) => Err(Error::PermissionDenied(
                "the data plane takes a service token, not the operator's; create one with TokenService.CreateServiceToken",
            )),
            (Some(Permission::Operate), Principal::Service) => Err(Error::PermissionDenied(
                "a service token may call QuotaService only; this takes the operator token",
            )),
            (None, _) => Err(Error::PermissionDenied("nobody may call this method")),
        }
    }

    fn identify(&self, secret: SecretHash) -> Result<Caller, Error> {
        // Hashes are compared, so the time this takes tells nothing of the secret.
        if secret == self.operator {
            return Ok(Caller { actor: Actor::OPERATOR, principal: Principal::Operator });
        }
        let now: Timestamp = self.clock.now();
        let tokens = self.tokens.load();
        let (token, expire_time) = tokens.get(&secret).ok_or(Error::TokenUnknown)?;
        if expire_time.is_some_and(|end| now >= end) {
            return Err(Error::TokenUnknown);
        }
        Ok(Caller { actor: Actor::service(token), principal: Principal::Service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_thought_of_is_refused() {
        for path in
            ["/quotad.v1.NewService/Do", "/other.v1.QuotaService/Reserve", "Reserve", "", "/grpc.reflection.v1.X/Y"]
        {
            assert_eq!(permission(path), None, "{path}");
        }
        assert_eq!(permission("/quotad.v1.QuotaService/Reserve"), Some(Permission::DataPlane));
        assert_eq!(permission("/quotad.v1.WalletService/TopUp"), Some(Permission::Operate));
    }
}
