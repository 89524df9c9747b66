//! What every method of the control plane does around its own conversion and its one service call.

use crate::service::Scope;

/// What a request is about, as far as permission goes. Each has to say so: without it, its method doesn't compile.
pub(super) trait Scoped {
    fn scope(&self) -> Scope<'_>;
}

/// Says which organization each request is about, and what in it, where that matters:
///
/// ```text
/// GetTeamRequest: organization_id;
/// CreateTeamRequest: team.organization_id;
/// UpdateTeamRequest: team.organization_id, fields update_mask;
/// GetKeyRequest: organization_id, of Key(key_id);
/// CreateKeyRequest: key.organization_id, of Member(key.member_id), sets_limits function;
/// ListOrganizationsRequest: none;
/// ```
macro_rules! scoped {
    (@field $message:ident $field:ident) => { Some($message.$field.as_str()) };
    (@field $message:ident $inner:ident $field:ident) => {
        Some($message.$inner.as_ref().map_or("", |inner| inner.$field.as_str()))
    };
    ($($request:ident: $first:ident $(.$second:ident)?
        $(, of $subject:ident($subject_first:ident $(.$subject_second:ident)?))?
        $(, fields $mask:ident)?
        $(, sets_limits $limits:ident)?;)*) => {$(
        impl crate::api::serve::Scoped for crate::api::proto::$request {
            fn scope(&self) -> crate::service::Scope<'_> {
                let message = self;
                #[allow(unused_mut)]
                let mut scope = crate::service::Scope {
                    organization: crate::api::serve::scoped!(@field message $first $($second)?),
                    ..crate::service::Scope::default()
                };
                $(scope.subject = crate::service::Subject::$subject(
                    crate::api::serve::scoped!(@field message $subject_first $($subject_second)?).unwrap_or_default(),
                );)?
                $(scope.fields = message.$mask.as_ref().map_or(&[], |mask| mask.paths.as_slice());)?
                $(scope.sets_limits = $limits(message);)?
                scope
            }
        }
    )*};
}

/// Requests that are about no organization.
macro_rules! unscoped {
    ($($request:ident),* $(,)?) => {$(
        impl crate::api::serve::Scoped for crate::api::proto::$request {
            fn scope(&self) -> crate::service::Scope<'_> {
                crate::service::Scope::default()
            }
        }
    )*};
}

/// Implements a generated service trait: finds out who calls, waits until its organization hasn't too many calls under
/// way, judges whether it may, lets the API's own method answer, asks once more whether the caller may have the answer to a read, maps the error.
macro_rules! serve {
    ($service:path, $api:ty { $($method:ident($request:ident) -> $response:ident = $answer:ident $(.$wait:ident)?;)* }) => {
        #[tonic::async_trait]
        impl $service for $api {$(
            async fn $method(
                &self,
                request: tonic::Request<crate::api::proto::$request>,
            ) -> Result<tonic::Response<crate::api::proto::$response>, tonic::Status> {
                let (_, extensions, message) = request.into_parts();
                let caller = crate::api::auth::caller(&extensions).map_err(crate::api::status::status)?;
                let scope = crate::api::serve::Scoped::scope(&message);
                // Counted before the books are asked whether there was what it names.
                let _under_way = self.0.enter(caller, &scope).await.map_err(crate::api::status::status)?;
                self.0.recall_subject(caller, &scope).await.map_err(crate::api::status::status)?;
                let caller = self.0.permit(caller, &scope).map_err(crate::api::status::status)?;
                let answer = self.$answer(&caller, message)$(.$wait)?;
                let answer = answer.and_then(|answer| self.0.permit_answer(&caller).map(|()| answer));
                answer.map(tonic::Response::new).map_err(crate::api::status::status)
            }
        )*}
    };
}

pub(super) use {scoped, serve, unscoped};
