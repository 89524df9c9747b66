//! Payment methods: each member's own, and paid by only while their owner is an active member.

use crate::{
    domain::{
        alert::AlertKind,
        event::Event,
        id::{MemberId, MethodId},
        payment::{AutoTopUp, OrderSource, PaymentMethod},
    },
    engine::{
        conflict::Conflict,
        turn::{
            Outcome, Turn,
            alert::Notice,
            control::{free, live},
        },
    },
};

impl Turn<'_> {
    pub(super) fn method_of(&self, member: &MemberId, id: &MethodId) -> Outcome<&PaymentMethod> {
        let missing = || Conflict::NotFound { kind: "payment method", id: id.to_string() };
        let methods = &self.state.payments.methods;
        // Another member's is no different from none.
        methods.find(id).filter(|row| row.entity.member == *member).ok_or_else(missing)?;
        live(methods, id, id.as_str())
    }

    /// # Errors
    /// [`Conflict`] when the id is or was in use, or the member has as many as it may.
    pub fn create_payment_method(&mut self, method: PaymentMethod) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.payments.methods, &method.id, method.id.as_str())?;
        let (has, max) = (self.state.payments.methods_of.of(&method.member), self.bounds().payment_methods);
        Self::check_count("payment methods of one member", has, max)?;
        self.emit(Event::PaymentMethodSet(Box::new(method)));
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when it isn't the member's.
    pub fn delete_payment_method(&mut self, member: &MemberId, id: &MethodId) -> Outcome<()> {
        let method = self.method_of(member, id)?.clone();
        self.end_method(method);
        self.stop_unpayable_auto_top_up();
        Ok(())
    }

    fn end_method(&mut self, method: PaymentMethod) {
        let ended = PaymentMethod { deleted: true, label: String::new(), token: String::new(), ..method };
        self.emit(Event::PaymentMethodSet(Box::new(ended)));
    }

    /// Deletes the payment methods of a member that goes, or with `None` everybody's: nobody else could.
    pub(in crate::engine::turn) fn end_methods(&mut self, of: Option<&MemberId>) {
        let own: Vec<_> = self.state.payments.methods_owned(of).cloned().collect();
        for method in own {
            self.end_method(method);
        }
        self.stop_unpayable_auto_top_up();
    }

    /// Switches automatic top-up off, and tells the owners of it, where nobody is to be charged by its payment method any more.
    /// Answers whether it did.
    pub(in crate::engine::turn) fn stop_unpayable_auto_top_up(&mut self) -> bool {
        let Some(auto) = self.state.payments.auto.as_deref().filter(|auto| auto.enabled) else { return false };
        let Err(why) = self.state.paid_by(auto.method.as_ref(), OrderSource::Automatic) else { return false };
        let off = AutoTopUp { enabled: false, disabled_reason: why.to_owned(), update_time: self.now, ..auto.clone() };
        self.emit(Event::AutoTopUpSet(Box::new(off)));
        self.notice(Notice {
            kind: AlertKind::AutoTopUpDisabled,
            cause: None,
            subject: String::from("Automatic top-up was switched off"),
            facts: vec![
                ("problem", why.to_owned()),
                ("automatic top-up", String::from("choose another payment method and switch it on again")),
            ],
            recipients: self.owners_and_recipients(),
        });
        true
    }
}
