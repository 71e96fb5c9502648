//! The endpoints over an API server in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Harness;
use crate::endpoints::{EndpointWatch, Endpoints};

#[derive(Clone, Debug, Default)]
struct Cluster {
    version: u64,
    pods: BTreeMap<String, SocketAddr>,
    is_down: bool,
}

/// Lists are answered from the state; a watch ends with the next change, with an expired resource
/// version.
#[derive(Clone)]
struct ApiServer {
    cluster: Arc<watch::Sender<Cluster>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ApiServer {
    fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        Client::new(service, "prod")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let uri = request.uri().to_string();
        self.requests.lock().unwrap().push(uri.clone());
        let mut changes = self.cluster.subscribe();
        let now = changes.borrow_and_update().clone();
        if now.is_down {
            return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"kind": "Status"}));
        }
        if !uri.contains("watch=true") {
            return answer(StatusCode::OK, &list(&now));
        }
        // A test that ends drops the sender.
        let _ = changes.changed().await;
        let expired = json!({
            "type": "ERROR",
            "object": {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "too old resource version", "reason": "Expired", "code": 410,
            },
        });
        answer(StatusCode::OK, &expired)
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let body = format!("{body}\n").into_bytes();
    Response::builder()
        .status(status)
        .body(Body::from(body))
        .unwrap()
}

fn list(cluster: &Cluster) -> Value {
    let version = cluster.version.to_string();
    let slice = |(at, (name, address)): (usize, (&String, &SocketAddr))| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("lograft-{at}"), "namespace": "prod"},
            "ports": [{"name": "client", "port": 1}, {"name": "peer", "port": address.port()}],
            "endpoints": [{
                "addresses": [address.ip().to_string()],
                "targetRef": {"kind": "Pod", "name": name},
            }],
        })
    };
    let items: Vec<Value> = cluster.pods.iter().enumerate().map(slice).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
        "metadata": {"resourceVersion": version}, "items": items,
    })
}

struct EndpointHarness {
    server: ApiServer,
    endpoints: Endpoints,
}

impl EndpointHarness {
    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        self.server.cluster.send_modify(|cluster| {
            cluster.version += 1;
            change(cluster);
        });
    }
}

impl Harness for EndpointHarness {
    type Source = Endpoints;

    fn source(&self) -> &Endpoints {
        &self.endpoints
    }

    async fn appear(&mut self, name: &str, at: SocketAddr) {
        self.change(|cluster| {
            cluster.pods.insert(name.to_owned(), at);
        });
    }

    async fn vanish(&mut self, name: &str) {
        self.change(|cluster| {
            cluster.pods.remove(name);
        });
    }

    async fn set_readable(&mut self, readable: bool) {
        self.change(|cluster| cluster.is_down = !readable);
    }

    fn vanish_max(&self) -> Duration {
        // The longest backoff of the watch.
        Duration::from_secs(40)
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_conform() {
    let server = ApiServer {
        cluster: Arc::new(watch::Sender::new(Cluster::default())),
        requests: Arc::default(),
    };
    let (run, endpoints) = EndpointWatch::new(server.client(), "prod", "lograft");
    tokio::spawn(run.run());
    let requests = Arc::clone(&server.requests);
    super::run(EndpointHarness { server, endpoints }).await;
    let requests = requests.lock().unwrap();
    let path = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices?";
    for uri in requests.iter() {
        assert!(uri.starts_with(path), "not only its own namespace: {uri}");
        assert!(
            uri.contains("kubernetes.io%2Fservice-name%3Dlograft"),
            "{uri}"
        );
    }
}
