//! The endpoint inside of a host's own actix-web application.

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse};
use signup::SignupService;
use signup::adapters::actix::resource_at;
use signup::http::{PATH, Reply, SignupEndpoint, VERIFY_PATH};
use signup::store::{InsertProof, MemoryStore};

fn endpoint() -> SignupEndpoint<MemoryStore> {
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    service.build().unwrap().into()
}

/// The status of a good sign-up at a path.
macro_rules! post {
    ($app:expr, $path:expr) => {{
        let body = r#"{"email":"dev@example.com","password":"correct horse"}"#;
        let request = TestRequest::post().uri($path).insert_header(ContentType::json());
        call_service($app, request.set_payload(body).to_request()).await.status()
    }};
}

#[actix_web::test]
async fn the_bare_handler_lives_on_the_hosts_path() {
    let handler = signup::adapters::actix::signup::<MemoryStore>;
    let register = web::resource("/v1/register").app_data(Data::new(endpoint())).to(handler);
    let app = init_service(App::new().service(register)).await;
    assert_eq!(post!(&app, "/v1/register"), StatusCode::CREATED);
    assert_eq!(post!(&app, "/v1/register"), StatusCode::CONFLICT);
    assert_eq!(post!(&app, "/auth/signup"), StatusCode::NOT_FOUND);
}

/// The host chooses the path of each route.
#[actix_web::test]
async fn each_route_lives_on_a_path_of_the_hosts() {
    let endpoint = crate::axum_host::verifying_first();
    let [signup, verify] = [PATH, VERIFY_PATH].map(|path| endpoint.route(path).unwrap());
    let register = resource_at(endpoint.clone(), signup, "/v1/register");
    let complete = resource_at(endpoint, verify, "/v1/register/complete");
    let app = init_service(App::new().service(register).service(complete)).await;
    assert_eq!(post!(&app, "/v1/register"), StatusCode::ACCEPTED);
    assert_eq!(post!(&app, "/v1/register/complete"), StatusCode::BAD_REQUEST);
    assert_eq!(post!(&app, "/auth/signup/verify"), StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn it_stands_in_a_scope_and_beside_the_hosts_default() {
    let configure = signup::adapters::actix::configure(endpoint());
    let scope = web::scope("/of/{tenant}").configure(configure);
    let teapot = async || HttpResponse::ImATeapot();
    let app = App::new().service(scope).default_service(web::to(teapot));
    let app = init_service(app).await;
    assert_eq!(post!(&app, "/of/a%20b/auth/signup"), StatusCode::CREATED);
    assert_eq!(post!(&app, "/elsewhere"), StatusCode::IM_A_TEAPOT);
    let get = TestRequest::get().uri("/of/a/auth/signup").to_request();
    assert_eq!(call_service(&app, get).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// A handler that owns the transaction.
async fn own_transaction(
    endpoint: Data<SignupEndpoint<MemoryStore>>,
    request: HttpRequest,
    body: web::Payload,
) -> Reply {
    let prepared = match signup::adapters::actix::prepare(&endpoint, &request, body).await {
        Ok(prepared) => prepared,
        Err(refusal) => return refusal,
    };
    let proof = InsertProof::by_host(prepared.new_account());
    endpoint.respond(prepared.open(proof))
}

#[actix_web::test]
async fn a_handler_of_the_hosts_prepares_inserts_and_answers_as_documented() {
    let register = web::resource("/register").app_data(Data::new(endpoint()));
    let app = init_service(App::new().service(register.to(own_transaction))).await;
    assert_eq!(post!(&app, "/register"), StatusCode::CREATED);
    let get = TestRequest::get().uri("/register").to_request();
    let refused = call_service(&app, get).await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers().get("allow").unwrap(), "POST");
}
