//! Logging in to another agent's embedded broker: the client crate's callbacks for the challenge. They run on the
//! client's task and do not wait. Not here: what is signed (`signal::login`).

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rumqttc::{AuthAction, AuthContext, AuthError, AuthProperties, Authenticator, MqttOptions};

use crate::signal::login::{Challenge, LoginKey, METHOD};

/// Makes the client log in with the device's key.
pub(super) fn set(options: &mut MqttOptions, key: &Arc<LoginKey>) {
    options
        .set_authentication_method(Some(METHOD.to_owned()))
        .set_authenticator(Arc::new(Mutex::new(Login { key: Arc::clone(key) })));
}

#[derive(Debug)]
struct Login {
    key: Arc<LoginKey>,
}

fn with_data(data: Vec<u8>) -> AuthProperties {
    AuthProperties {
        method: Some(METHOD.to_owned()),
        data: Some(Bytes::from(data)),
        ..AuthProperties::default()
    }
}

impl Authenticator for Login {
    fn start(&mut self, _: AuthContext<'_>) -> Result<Option<AuthProperties>, AuthError> {
        Ok(Some(with_data(self.key.device().as_str().into())))
    }

    fn continue_auth(
        &mut self,
        _: AuthContext<'_>,
        incoming: Option<AuthProperties>,
    ) -> Result<AuthAction, AuthError> {
        let data = incoming.and_then(|properties| properties.data);
        let challenge = data.and_then(|data| Challenge::try_from(&*data).ok());
        let challenge = challenge.ok_or("the hub's challenge is not one of pinhole's")?;
        Ok(AuthAction::Send(with_data(self.key.sign(&challenge))))
    }

    fn success(&mut self, _: AuthContext<'_>, _: Option<AuthProperties>) -> Result<(), AuthError> {
        Ok(())
    }

    fn failure(&mut self, _: AuthContext<'_>, _: AuthError) {}
}
