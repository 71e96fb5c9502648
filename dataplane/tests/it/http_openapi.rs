//! The OpenAPI document of a node: it is the one that is checked in, its examples work, and the
//! answers have the fields that it lists.

use http::Method;
use serde_json::{Map, Value};

use crate::cluster::Cluster;
use crate::http_client::{Answer, HttpClient};

/// The properties of a schema, with those that it refers to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Checks that a value has the fields of its schema: the required ones, and no other.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolved(document, schema);
    for one_of in schema["oneOf"].as_array().into_iter().flatten() {
        if one_of["type"] != "null" && !value.is_null() && one_of.get("$ref").is_some() {
            return check(document, one_of, value, at);
        }
    }
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object())
    else {
        for item in value.as_array().into_iter().flatten() {
            check(document, &schema["items"], item, at);
        }
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        assert!(
            fields.contains_key(name),
            "{at}: {name} is missing in {value}"
        );
    }
    for (name, field) in fields {
        let property = properties.get(name);
        let property = property.unwrap_or_else(|| panic!("{at}: {name} is not described"));
        check(document, property, field, &format!("{at}.{name}"));
    }
}

fn check_answer(document: &Value, operation: &Value, answer: &Answer) {
    let described = &operation["responses"][answer.status.to_string()];
    assert!(
        !described.is_null(),
        "{} {answer:?}",
        operation["operationId"]
    );
    if answer.body.is_empty() {
        return;
    }
    let schema = &described["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{described}");
    let at = operation["operationId"].as_str().unwrap();
    check(document, schema, &answer.json(), at);
}

fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths: &Map<String, Value> = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| -> Vec<(Method, String, Value)> {
        let methods = methods.as_object().unwrap().iter();
        methods
            .map(|(method, operation)| {
                let method = method.to_uppercase().parse().unwrap();
                (method, path.clone(), operation.clone())
            })
            .collect()
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_served_and_its_examples_work() {
    let cluster = Cluster::with_http(1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let served = client.get("/openapi.json").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("LOGRAFT_BLESS").is_some() {
        std::fs::write(file, &served.body).unwrap();
    }
    assert!(
        served.body == std::fs::read(file).unwrap(),
        "docs/openapi.json differs: write it with LOGRAFT_BLESS=1, and read the change"
    );
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let operations = operations(&document);
    let path_of = |path: &str| {
        path.replace("{topic}", "clicks")
            .replace("{partition}", "0")
            .replace("{group}", "billing")
            .replace("{member}", "worker-1")
    };
    let mut examples = 0;
    // Those that create something come first.
    let posted = [
        "/v1/topics",
        "/v1/topics/{topic}/records",
        "/v1/groups/{group}/members",
        "/v1/groups/{group}/members/{member}/heartbeat",
        "/v1/groups/{group}/offsets",
        "/v1/groups/{group}/members/{member}/poll",
    ];
    for path in posted {
        let found = operations
            .iter()
            .find(|(method, of, _)| *method == Method::POST && of == path);
        let (_, _, operation) = found.unwrap();
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        assert!(body.is_object(), "{operation}");
        let answer = client.post(&path_of(path), body).await;
        check_answer(&document, operation, &answer);
        examples += 1;
    }
    assert_eq!(examples, 6);
    for (method, path, operation) in &operations {
        if *method != Method::GET || path == "/v1/topics/{topic}/records" {
            continue;
        }
        let answer = client.get(&path_of(path)).await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        check_answer(&document, operation, &answer);
    }
    let problem = client.get("/v1/topics/none").await;
    let schema = &document["components"]["schemas"]["Problem"];
    check(&document, schema, &problem.json(), "Problem");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described() {
    let cluster = Cluster::with_http(1).await;
    let client = HttpClient::new(&cluster, (0, "user/admin"));
    let document = client.get("/openapi.json").await.json();
    let operations = operations(&document);
    for (path, _) in document["paths"].as_object().unwrap() {
        let request = path.replace("{topic}", "none").replace("{partition}", "0");
        let request = request.replace("{group}", "g").replace("{member}", "m");
        let refused = client.call(Method::PUT, &request, &Value::Null).await;
        refused.problem(405, "METHOD_NOT_ALLOWED");
        let mut allowed: Vec<&str> = refused.header("allow").split(',').collect();
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        let described = operations.iter().filter(|(_, of, _)| of == path);
        let mut described: Vec<&str> = described.map(|(method, ..)| method.as_str()).collect();
        described.sort_unstable();
        assert_eq!(allowed, described, "{path}");
    }
}
