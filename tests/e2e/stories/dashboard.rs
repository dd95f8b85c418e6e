//! The dashboard in a real browser, and its modules by themselves.

use crate::{
    Story,
    browser::Browser,
    cluster::{Place, project, run, shared},
    images,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
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
        "dashboard::every_action_acts_and_a_restart_is_survived",
        every_action_acts_and_a_restart_is_survived,
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
    go_by_keys(&mut browser);
    read_the_logs_of_all(&place, &mut browser);
    see_the_traffic(&mut browser);
    rest_while_hidden(&place, &mut browser);
    both_themes_can_be_read(&mut browser);
    nothing_is_cut_off_on_a_phone(&mut browser);
    delete(&place, &mut browser);
    browser.close();
    place.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

/// What objects hold is text, whatever it looks like.
const EVIL: &str = "<img src=x onerror=hacked=1>";

/// On a cluster of its own: a node is drained and the daemon killed.
fn every_action_acts_and_a_restart_is_survived() {
    let place = Place::new();
    place.must(&["start"]);
    images::load_busybox(&place);
    place.kubectl(&["create", "namespace", NAMESPACE]);
    let evil = format!("echo \"{EVIL}\"; echo 안녕");
    place.apply(&MANIFEST.replace("echo 안녕", &evil));
    let mut browser = Browser::start(1440, 900);
    browser.open(place.must(&["dashboard", "--url"]).trim());
    browser.until_text(".stat-value", "1/1");
    roll_on_and_back(&place, &mut browser);
    apply_what_is_typed(&place, &mut browser);
    two_people_edit(&place, &mut browser);
    run_a_cron_job_now(&place, &mut browser);
    let complaints = browser.complaints();
    let refused = |one: &String| one.contains("409") || one.contains("422");
    assert!(complaints.iter().all(refused), "{complaints:?}");
    empty_the_node(&place, &mut browser);
    assert_eq!(browser.eval("typeof hacked"), "undefined");
    the_daemon_is_killed(&place, &mut browser);
    browser.close();
}

fn open(browser: &mut Browser, id: &str, name: &str) {
    let page = format!("#/list/{id}?ns=dashboard&open={id}/dashboard/{name}");
    browser.eval(&format!("location.hash = '{page}'"));
    browser.until_text(".detail h2", name.split('/').next().unwrap());
}

/// An action behind “more”.
fn choose(browser: &mut Browser, action: &str) {
    browser.click("[aria-label='More actions']");
    browser.click(&format!(".menu [data-action={action}]"));
}

fn roll_on_and_back(place: &Place, browser: &mut Browser) {
    const OF_THE_POD: &str = ".spec.template.metadata.annotations";
    let shop = ["deployment", "shop", "-n", NAMESPACE];
    open(browser, "deployments.apps", "shop/logs");
    browser.until_text(".log-line", EVIL);
    browser.click("[data-tab=summary]");
    browser.click("[data-action=restart]");
    browser.until_text(".toast", "Deployment shop restarts");
    assert!(place.field(&shop, OF_THE_POD).contains("restartedAt"));
    choose(browser, "pause");
    browser.until_text(".toast", "Deployment shop is paused");
    assert_eq!(place.field(&shop, ".spec.paused"), "true");
    choose(browser, "resume");
    browser.until_text(".toast", "Deployment shop goes on");
    place.kubectl(&["rollout", "status", "deployment/shop", "-n", NAMESPACE]);
    choose(browser, "undo");
    browser.until_text("dialog", "Revision 1");
    browser.click("dialog [type=submit]");
    browser.until_text(".toast", "Deployment shop rolls back");
    assert_eq!(place.field(&shop, OF_THE_POD), "");
}

fn apply_what_is_typed(place: &Place, browser: &mut Browser) {
    let typed = |browser: &mut Browser, text: &str| {
        let text = json!(text);
        browser.eval(&format!(
            "document.querySelector('dialog textarea').value = {text}"
        ));
        browser.click("dialog [type=submit]");
    };
    browser.click("#create");
    typed(
        browser,
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: words\ndata: {한글: x}\n",
    );
    browser.until_text("dialog .problem", "a valid config key must consist of");
    let two = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: words\ndata: {word: 한글}\n---\n\
        apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: nightly\nspec:\n  schedule: '0 2 * * *'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - {name: a, image: 'busybox:1.36', imagePullPolicy: IfNotPresent, command: ['true']}\n";
    typed(browser, two);
    browser.until_text(".toast", "ConfigMap words, CronJob nightly applied");
    let word = place.field(&["configmap", "words", "-n", NAMESPACE], ".data.word");
    assert_eq!(word, "한글");
}

fn two_people_edit(place: &Place, browser: &mut Browser) {
    open(browser, "configmaps", "words/yaml");
    browser.until("document.querySelector('.yaml-input')?.value.includes('word: 한글')");
    replace(browser, "word: 한글", "word: mine");
    let theirs = r#"{"data":{"other":"theirs"}}"#;
    place.kubectl(&["patch", "cm", "words", "-n", NAMESPACE, "-p", theirs]);
    browser.until_text(".bar-state", "The object has changed in the meantime");
    browser.click(".yaml .button.primary");
    browser.until_text(".yaml .problem", "the object has been modified");
    let data = place.field(&["configmap", "words", "-n", NAMESPACE], ".data");
    assert!(data.contains("한글") && data.contains("theirs"), "{data}");
}

fn run_a_cron_job_now(place: &Place, browser: &mut Browser) {
    open(browser, "cronjobs.batch", "nightly");
    browser.click("[data-action=trigger]");
    browser.until_text(".toast", "A job of nightly was started");
    place.eventually("the job's end", || {
        let succeeded = place.field(&["jobs", "-n", NAMESPACE], ".items[*].status.succeeded");
        (succeeded == "1").then_some(())
    });
}

fn empty_the_node(place: &Place, browser: &mut Browser) {
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    browser.eval(&format!(
        "location.hash = '#/list/nodes?open=nodes/-/{node}'"
    ));
    browser.click("[data-action=cordon]");
    browser.until_text(".detail-name", "SchedulingDisabled");
    browser.click("[data-action=uncordon]");
    browser.until("!document.querySelector('.detail-name').textContent.includes('Disabled')");
    choose(browser, "drain");
    browser.until_text("dialog", &format!("Drain {node}?"));
    // What cannot be undone is not one key away.
    assert_eq!(browser.eval("document.activeElement.textContent"), "Cancel");
    browser.click("dialog [type=submit]");
    browser.until_text(".toast", &format!("Node {node} was drained"));
    place.eventually("the pods' end", || {
        let phases = ["pods", "-n", NAMESPACE, "-l", "app=shop"];
        (place.field(&phases, ".items[*].status.phase") == "Pending").then_some(())
    });
    browser.click("[data-action=uncordon]");
    place.kubectl(&["rollout", "status", "deployment/shop", "-n", NAMESPACE]);
}

/// A page that was left open goes on by itself; a new link works where the page is.
fn the_daemon_is_killed(place: &Place, browser: &mut Browser) {
    open(browser, "deployments.apps", "shop/logs");
    browser.until_text(".log-state", "Live");
    browser.eval("location.hash = '#/list/configmaps?ns=dashboard'");
    browser.until_text(".tr", "words");
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    browser.until("!document.querySelector('.offline').hidden");
    place.must(&["start"]);
    place.kubectl(&["create", "configmap", "afterwards", "-n", NAMESPACE]);
    browser.until_text(".tr", "afterwards");
    browser.until("document.querySelector('.offline').hidden");
    // The browser says in its log that nobody answered.
    browser.complaints();
    browser.open(place.must(&["dashboard", "--url"]).trim());
    browser.until("location.hash === '#/overview'");
    browser.until_text("h1", "Overview");
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

/// From anywhere to a table, along its rows, into one and back.
fn go_by_keys(browser: &mut Browser) {
    browser.eval("location.hash = '#/overview?ns=dashboard'");
    browser.until_text("h1", "dashboard");
    browser.eval("document.activeElement.blur()");
    for (key, code) in [("g", 71), ("d", 68)] {
        browser.press(key, code);
    }
    browser.until("document.activeElement.classList.contains('table-port')");
    browser.until_text(".tr", "shop");
    browser.press("ArrowDown", 40);
    browser.press("Enter", ENTER);
    browser.until_text(".detail h2", "shop");
    browser.press("y", 89);
    browser.until("location.hash.endsWith('/shop/yaml')");
    browser.press("Escape", 27);
    browser.until("document.activeElement.classList.contains('table-port')");
}

/// A pod that comes while its workload's logs are read is read as well.
fn read_the_logs_of_all(place: &Place, browser: &mut Browser) {
    // The one that was too many must be gone: to ask for its logs is an error in the browser's log.
    place.eventually("one pod", || {
        let pods = place.field(&["pods", "-n", NAMESPACE], ".items[*].metadata.uid");
        (pods.split_whitespace().count() == 1).then_some(())
    });
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
