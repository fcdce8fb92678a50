//! Pods and Secrets as the API server sends them, as far as they are looked at.
//!
//! All else of them is dropped while it is decoded: of the variables of a container the secret alone stays. Texts that may
//! be secrets are wiped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::handover::kubernetes::{OwnerPod, Pod, Role, SecretPlace};

/// The variable that executors get the secret with (`SecurityManager.ENV_AUTH_SECRET`, Spark 4.3.0).
const VARIABLE: &str = "_SPARK_AUTH_SECRET";

/// Labels of Spark's pods (`org.apache.spark.deploy.k8s.Constants`, Spark 4.3.0).
pub(super) const ROLE: &str = "spark-role";
pub(super) const APP: &str = "spark-app-selector";
const EXECUTOR: &str = "spark-exec-id";

/// A text that is wiped, and never shown.
#[derive(Clone, Default)]
pub(super) struct WipedText(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for WipedText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl fmt::Debug for WipedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "secrets_alone")]
    env: Vec<Variable>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: String,
    value: Option<WipedText>,
    value_from: Option<ValueFrom>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    secret_key_ref: Option<KeyOfSecret>,
}

#[derive(Clone, Debug, Deserialize)]
struct KeyOfSecret {
    #[serde(default)]
    name: String,
    key: String,
    #[serde(default)]
    optional: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    phase: Option<String>,
}

/// Keeps the variables that have the secret; each other one is dropped before the next one is read.
fn secrets_alone<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Variable>, D::Error> {
    struct Secrets;

    impl<'de> Visitor<'de> for Secrets {
        type Value = Vec<Variable>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of variables")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut secrets = Vec::new();
            while let Some(variable) = list.next_element::<Variable>()? {
                if variable.name == VARIABLE {
                    secrets.push(variable);
                }
            }
            Ok(secrets)
        }
    }

    from.deserialize_any(Secrets)
}

impl Resource for PodObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodObject {
    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether its containers have ended, and nothing starts them again.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// What it is to Spark; `None` where it is nothing.
    pub(super) fn of_spark(&self) -> Option<Pod> {
        let label = |name: &str| self.metadata.labels.as_ref()?.get(name).map(String::as_str);
        let role = match label(ROLE)? {
            "driver" => Role::Driver,
            "executor" => Role::Executor {
                executor: label(EXECUTOR).map(ExecutorId::new),
                secret: self.secret(),
                owner: self.owner(),
            },
            _ => return None,
        };
        let created = self.metadata.creation_timestamp.as_ref();
        Some(Pod {
            uid: self.metadata.uid.clone()?,
            namespace: self.metadata.namespace.clone()?,
            name: self.metadata.name.clone()?,
            app: AppId::new(label(APP)?),
            created: created.map_or(i64::MAX, |time| time.0.as_second()),
            has_ended: self.has_ended(),
            role,
        })
    }

    fn owner(&self) -> Option<OwnerPod> {
        let owners = self.metadata.owner_references.as_ref()?;
        let owner = owners.iter().find(|owner| owner.kind == "Pod" && owner.api_version == "v1")?;
        Some(OwnerPod { name: owner.name.clone(), uid: owner.uid.clone() })
    }

    /// Of two variables of one name the kubelet takes the last one.
    fn secret(&self) -> SecretPlace {
        let of_container = |container: &Container| container.env.last().cloned();
        let Some(variable) = self.spec.containers.iter().find_map(of_container) else {
            return SecretPlace::Nowhere;
        };
        match (variable.value, variable.value_from) {
            (Some(WipedText(text)), None) if text.is_empty() => SecretPlace::Nowhere,
            (Some(WipedText(text)), None) if text.contains("$(") => {
                SecretPlace::Odd("is made of other variables")
            }
            (Some(WipedText(mut text)), None) => {
                SecretPlace::Here(Arc::new(AppSecret::new(std::mem::take(&mut *text))))
            }
            (_, Some(ValueFrom { secret_key_ref: Some(KeyOfSecret { name, key, optional }) })) => {
                SecretPlace::Named { name, key, optional: optional.unwrap_or(false) }
            }
            (_, Some(_)) => SecretPlace::Odd("comes from something else than a Secret"),
            (None, None) => SecretPlace::Nowhere,
        }
    }
}

/// A Secret.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SecretObject {
    metadata: ObjectMeta,
    /// Base64.
    #[serde(default)]
    pub(super) data: BTreeMap<String, WipedText>,
}

impl Resource for SecretObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Secret".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "secrets".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(role: &str, env: Value) -> PodObject {
        let pod = json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"spark-role": role, "spark-app-selector": "spark-1", "spark-exec-id": "7"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r"},
                    {"apiVersion": "v1", "kind": "Pod", "name": "d", "uid": "du", "controller": true},
                ],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "other"}, {"name": "executor", "env": env}]},
            "status": {"phase": "Pending"},
        });
        serde_json::from_value(pod).unwrap()
    }

    fn secret(env: Value) -> SecretPlace {
        let Role::Executor { secret, .. } = pod("executor", env).of_spark().unwrap().role else { panic!() };
        secret
    }

    #[test]
    fn an_executors_pod_says_whose_it_is_and_brings_the_secret_alone() {
        let env = json!([
            {"name": "SPARK_USER", "value": "u"},
            {"name": "SPARK_EXECUTOR_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "_SPARK_AUTH_SECRET", "value": "hunter2"},
        ]);
        let object = pod("executor", env);
        assert_eq!(object.spec.containers[1].env.len(), 1);
        assert!(!format!("{object:?}").contains("hunter2"));
        let pod = object.of_spark().unwrap();
        assert_eq!((pod.app.as_str(), pod.created, pod.has_ended), ("spark-1", 1_767_323_045, false));
        let Role::Executor { executor, secret: SecretPlace::Here(secret), owner } = pod.role else {
            panic!()
        };
        assert_eq!(secret.as_bytes(), b"hunter2");
        assert_eq!(executor.unwrap().as_str(), "7");
        assert_eq!(owner, Some(OwnerPod { name: "d".to_owned(), uid: "du".to_owned() }));
    }

    #[test]
    fn the_secret_is_where_the_kubelet_takes_it_from() {
        let variable = |more: Value| {
            let mut variable = json!({"name": "_SPARK_AUTH_SECRET"});
            variable.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            variable
        };
        let value = |text: &str| variable(json!({"value": text}));
        let from = |what: Value| variable(json!({"valueFrom": what}));
        let named = from(json!({"secretKeyRef": {"name": "s", "key": "k"}}));
        assert!(matches!(secret(json!([])), SecretPlace::Nowhere));
        assert!(matches!(secret(Value::Null), SecretPlace::Nowhere));
        assert!(matches!(secret(json!([value("")])), SecretPlace::Nowhere));
        assert!(matches!(secret(json!([value("$(OTHER)")])), SecretPlace::Odd(_)));
        let configured = from(json!({"configMapKeyRef": {"name": "c", "key": "k"}}));
        assert!(matches!(secret(json!([configured])), SecretPlace::Odd(_)));
        let SecretPlace::Named { name, key, optional: false } = secret(json!([value("first"), named])) else {
            panic!("the last one counts")
        };
        assert_eq!((name.as_str(), key.as_str()), ("s", "k"));
    }

    #[test]
    fn pods_that_are_neither_a_driver_nor_an_executor_say_nothing() {
        assert!(pod("connect-server", json!([])).of_spark().is_none());
        assert!(matches!(pod("driver", json!([])).of_spark().unwrap().role, Role::Driver));
    }
}
