//! The dashboard in a real browser, and its modules by themselves.

use crate::{
    Story,
    browser::Browser,
    cluster::{Place, project, run, shared},
    images,
};
use serde_json::json;

pub const STORIES: &[Story] = &[
    (
        "dashboard::pure_modules_pass_their_own_tests",
        pure_modules_pass_their_own_tests,
    ),
    (
        "dashboard::an_application_is_run_from_a_browser",
        an_application_is_run_from_a_browser,
    ),
    (
        "dashboard::without_a_cluster_it_says_so",
        without_a_cluster_it_says_so,
    ),
];

const NAMESPACE: &str = "dashboard";
const ENTER: u32 = 13;
/// What a person with normal sight needs for text, by the accessibility guidelines.
const CONTRAST_MIN: f64 = 4.5;

fn pure_modules_pass_their_own_tests() {
    let folder = project().join("tests/dashboard");
    run(
        "sh",
        &[
            "-c",
            "cd \"$1\" && node --test .",
            "sh",
            folder.to_str().unwrap(),
        ],
    );
}

fn without_a_cluster_it_says_so() {
    let place = Place::new();
    let output = place.kubik(&["dashboard"]).output().unwrap();
    assert_eq!(output.status.code(), Some(85));
}

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: dashboard}
spec:
  replicas: 1
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: shop
        image: busybox:1.36
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'echo 안녕하세요 from $HOSTNAME; exec sleep 1000']
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: dashboard}
spec: {selector: {app: shop}, ports: [{port: 80}]}
";

fn an_application_is_run_from_a_browser() {
    let place = shared();
    images::load_busybox(&place);
    place.kubectl(&["create", "namespace", NAMESPACE]);
    let url = place.must(&["dashboard", "--url"]);
    let mut browser = Browser::start(1440, 900);
    browser.prefers("light");
    enter(&mut browser, url.trim());
    let pod = watch_it_come(&place, &mut browser);
    read_logs(&mut browser, &pod);
    use_a_shell(&mut browser, &pod);
    edit(&place, &mut browser);
    read_the_logs_of_all(&mut browser);
    see_the_traffic(&mut browser);
    rest_while_hidden(&place, &mut browser);
    both_themes_can_be_read(&mut browser);
    nothing_is_cut_off_on_a_phone(&mut browser);
    delete(&place, &mut browser);
    browser.close();
    place.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

fn enter(browser: &mut Browser, url: &str) {
    browser.open(url);
    browser.until_text(".stat", "Nodes");
    browser.until_text(".stat-value", "1/1");
    assert_eq!(browser.eval("location.hash"), "#/overview");
    assert_eq!(browser.eval("document.cookie"), "");
    assert!(browser.complaints().is_empty());
    // The link was good once: who finds it in a history gets nothing.
    let ticket = json!(url.rsplit('=').next().unwrap());
    let again =
        format!("fetch('/session', {{method: 'POST', body: {ticket}}}).then((it) => it.status)");
    assert_eq!(browser.eval(&again), 401);
    browser.complaints();
}

/// The list is open before anything is in it; the pod appears by itself.
fn watch_it_come(place: &Place, browser: &mut Browser) -> String {
    browser.eval("location.hash = '#/list/pods?ns=dashboard'");
    browser.until_text(".hint", "kubectl -n dashboard run web --image=nginx");
    place.apply(MANIFEST);
    browser.until_text(".tr .chip.good", "Running");
    let name = browser.eval("document.querySelector('.tr .rowlink').textContent");
    let name = name.as_str().unwrap().to_owned();
    assert!(name.starts_with("shop-"), "{name}");
    name
}

fn read_logs(browser: &mut Browser, pod: &str) {
    browser.click(".tr .rowlink");
    browser.until_text(".detail h2", pod);
    browser.until_text(".detail .container", "busybox:1.36");
    browser.click("[data-tab=logs]");
    browser.until_text(".log-line", &format!("안녕하세요 from {pod}"));
    browser.until_text(".log-state", "Live");
}

fn use_a_shell(browser: &mut Browser, pod: &str) {
    browser.click("a[data-tab=shell]");
    browser.until_text(".shell .bar", "Connected");
    browser.until("document.activeElement.classList.contains('term-keys')");
    browser.write("echo $((6 * 7)) 한글 $(hostname); stty size");
    browser.press("Enter", ENTER);
    browser.until_text(".term-grid", &format!("42 한글 {pod}"));
    // The program knows how large its screen is.
    let size = "[...document.querySelectorAll('.term-row')].some((row) => /^[1-9]\\d* [1-9]\\d*\\s*$/.test(row.textContent))";
    browser.until(size);
    browser.write("exit");
    browser.press("Enter", ENTER);
    browser.until_text(".shell .bar", "The shell has ended.");
}

fn edit(place: &Place, browser: &mut Browser) {
    let open = "#/list/deployments.apps?ns=dashboard&open=deployments.apps/dashboard/shop/yaml";
    browser.eval(&format!("location.hash = '{open}'"));
    browser.until("document.querySelector('.yaml-input')?.value.includes('replicas: 1')");
    replace(browser, "replicas: 1", "replicas: many");
    browser.click(".yaml .button.primary");
    // The server's own words.
    browser.until_text(".yaml .problem", "cannot unmarshal");
    browser.complaints();
    replace(browser, "replicas: many", "replicas: 2");
    browser.click(".yaml .button.primary");
    browser.until_text(".detail-name", "2/2");
    browser.until_text(".tr", "2/2");
    assert_eq!(replicas(place), "2");
    browser.click("[data-action=scale]");
    browser.until("document.querySelector('dialog input[type=number]')?.value === '2'");
    browser.eval("document.querySelector('dialog input[type=number]').value = 1");
    browser.click("dialog [type=submit]");
    browser.until_text(".tr", "1/1");
    assert_eq!(replicas(place), "1");
}

fn replicas(place: &Place) -> String {
    place.field(&["deployment", "shop", "-n", NAMESPACE], ".spec.replicas")
}

/// As typing does: the text changes and the page is told.
fn replace(browser: &mut Browser, from: &str, to: &str) {
    let (from, to) = (json!(from), json!(to));
    browser.eval(&format!(
        "(() => {{ const input = document.querySelector('.yaml-input'); input.value = input.value.replace({from}, {to}); input.dispatchEvent(new Event('input')); }})()"
    ));
}

/// A pod that comes while its workload's logs are read is read as well.
fn read_the_logs_of_all(browser: &mut Browser) {
    let open = "#/list/deployments.apps?ns=dashboard&open=deployments.apps/dashboard/shop/logs";
    browser.eval(&format!("location.hash = '{open}'"));
    browser.until_text(".log-line", "안녕하세요 from shop-");
    browser.click("[data-action=scale]");
    browser.until("document.querySelector('dialog input[type=number]')?.value === '1'");
    browser.eval("document.querySelector('dialog input[type=number]').value = 2");
    browser.click("dialog [type=submit]");
    let speakers =
        "new Set([...document.querySelectorAll('.log-line b')].map((one) => one.textContent)).size";
    browser.until(&format!("{speakers} === 2"));
}

fn see_the_traffic(browser: &mut Browser) {
    browser.eval("location.hash = '#/topology?ns=dashboard'");
    browser.until("document.querySelectorAll('.topo-card').length === 2");
    browser.until("document.querySelector('.wire.good')");
    browser.until_text(".topo-card", "ClusterIP service");
    browser.until("document.querySelectorAll('.pod.ready').length === 2");
    browser.eval("location.hash = '#/events?ns=dashboard'");
    browser.until_text(".event", "ScalingReplicaSet");
}

/// Nobody looks: no connection is open. What happened meanwhile is there when somebody looks again.
fn rest_while_hidden(place: &Place, browser: &mut Browser) {
    browser.eval("location.hash = '#/list/configmaps?ns=dashboard'");
    browser.until_text(".tr", "kube-root-ca.crt");
    browser.until("openSockets.size > 0");
    browser.hide(true);
    browser.until("openSockets.size === 0");
    place.kubectl(&["create", "configmap", "meanwhile", "-n", NAMESPACE]);
    assert_eq!(browser.eval("openSockets.size"), 0);
    browser.hide(false);
    browser.until_text(".tr", "meanwhile");
    browser.until("openSockets.size > 0");
}

fn both_themes_can_be_read(browser: &mut Browser) {
    browser.eval("location.hash = '#/list/pods?ns=dashboard'");
    browser.until_text(".tr .chip.good", "Running");
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        let looked = "getComputedStyle(document.documentElement).colorScheme";
        browser.until(&format!("{looked} === '{scheme}'"));
        for part in [
            ".rowlink",
            ".tr .chip.good",
            ".tr time",
            ".nav a[aria-current]",
            ".th",
        ] {
            let found = browser.eval(&contrast(part)).as_f64().unwrap();
            assert!(found >= CONTRAST_MIN, "{part} in {scheme}: {found:.2}");
        }
    }
    // The switch is stronger than the system: first light, then dark.
    browser.click("#theme");
    browser.until("getComputedStyle(document.documentElement).colorScheme === 'light'");
    browser.click("#theme");
    browser.prefers("light");
    browser.until("getComputedStyle(document.documentElement).colorScheme === 'dark'");
}

/// The contrast of an element's text against what lies behind it.
fn contrast(selector: &str) -> String {
    format!(
        "(() => {{
            const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
            const light = ([r, g, b]) => [r, g, b].map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
            const element = document.querySelector('{selector}');
            let behind = element;
            while (behind.parentElement && (parse(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
            const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(parse).map(light);
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }})()"
    )
}

fn nothing_is_cut_off_on_a_phone(browser: &mut Browser) {
    for (width, height) in [(390, 844), (1024, 768)] {
        browser.size(width, height);
        for page in ["#/overview", "#/list/pods?ns=dashboard", "#/events"] {
            browser.eval(&format!("location.hash = '{page}'"));
            browser.until("document.querySelector('.stat-value, .tr, .event')");
            let spare = "document.documentElement.scrollWidth - innerWidth";
            assert_eq!(browser.eval(spare), 0, "{page} at {width}");
            let main = "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.querySelector('.main'))";
            assert_eq!(browser.eval(main), 0, "{page} at {width}");
        }
    }
    browser.size(1440, 900);
}

fn delete(place: &Place, browser: &mut Browser) {
    let open = "#/list/deployments.apps?ns=dashboard&open=deployments.apps/dashboard/shop";
    browser.eval(&format!("location.hash = '{open}'"));
    browser.click("[data-action=delete]");
    browser.until_text("dialog", "Delete Deployment shop?");
    browser.click("dialog [type=submit]");
    browser.until_text(".detail-name", "Deleted");
    browser.until("document.querySelectorAll('.tr').length === 0");
    let refused = place.kubectl_fails(&["get", "deployment", "shop", "-n", NAMESPACE]);
    assert!(refused.contains("NotFound"), "{refused}");
}
