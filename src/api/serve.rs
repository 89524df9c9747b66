//! What every method of the control plane does around its own conversion and its one service call.

/// Implements a generated service trait: finds out who calls, lets the API's own method answer, maps its error.
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
                let answer = self.$answer(caller, message)$(.$wait)?;
                answer.map(tonic::Response::new).map_err(crate::api::status::status)
            }
        )*}
    };
}

pub(super) use serve;
