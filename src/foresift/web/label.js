// Keys and clicks become events that name the image on screen, so that no label goes to an image nobody saw.
(() => {
  const one = (selector) => document.querySelector(selector);
  const stage = () => one(".stage");
  const at = () => Number(stage()?.dataset.at ?? -1);
  const say = (act, value) => emitEvent("label", { act, value, at: at() });
  const moves = new Set(["u", "backspace", "arrowleft", "arrowright"]);

  // Whether the image is on screen, or known to be broken.
  const looked = () => {
    const image = one(".stage img.main");
    return Boolean(stage()?.dataset.broken) || Boolean(image?.complete && image.naturalWidth);
  };

  document.addEventListener("keydown", (event) => {
    const focus = document.activeElement;
    if (focus?.matches("input, textarea, select")) {
      findKey(event, focus);
      return;
    }
    const undo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (!undo && (event.ctrlKey || event.metaKey || event.altKey)) return;
    if (focus?.matches("button") && (event.key === " " || event.key === "Enter")) return;
    if (event.key === "/" && one("input.find")) {
      event.preventDefault();
      one("input.find").focus();
      return;
    }
    const key = undo ? "u" : event.key.toLowerCase();
    if ([" ", "backspace", "arrowleft", "arrowright"].includes(key) || undo) event.preventDefault();
    // A key that is held down answers once; only the arrows go on.
    if (event.repeat && !key.startsWith("arrow")) return;
    if (key.length === 1 || moves.has(key)) if (moves.has(key) || looked()) say("key", key);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".copy")) {
      copy(button);
      return;
    }
    const { act, value } = button.dataset;
    if (!act) return;
    if (event.detail) button.blur(); // after a mouse, Space means "cannot tell" again
    if (act === "class" || act === "tell" ? looked() : true) say(act, Number(value));
  });

  const copy = async (button) => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
    }
  };

  // Typing in the search field leaves the classes that contain it; Enter takes the first.
  const classes = () => [...document.querySelectorAll("button.act.class")];
  const narrow = (text) => classes().forEach((b) => b.toggleAttribute("hidden", !b.dataset.name.includes(text)));
  const findKey = (event, field) => {
    if (event.key !== "Escape" && event.key !== "Enter") return;
    event.preventDefault();
    const wanted = field.value.trim().toLowerCase();
    const shown = classes().filter((b) => !b.hidden);
    const first = shown.find((b) => b.dataset.name === wanted) ?? shown.find((b) => b.dataset.name.startsWith(wanted));
    field.value = "";
    narrow("");
    field.blur();
    if (event.key === "Enter" && wanted && looked()) (first ?? shown[0])?.click();
  };
  document.addEventListener("input", (event) => {
    if (event.target.matches("input.find")) narrow(event.target.value.trim().toLowerCase());
  });

  document.addEventListener("load", (event) => {
    if (event.target.matches?.(".stage img.main")) delete stage().dataset.broken;
  }, true);
  document.addEventListener("error", async (event) => {
    const image = event.target;
    if (!image.matches?.(".stage img.main") || !image.getAttribute("src")) return;
    const from = image.getAttribute("src");
    const answer = await fetch(from).then((r) => r.text(), () => "The page's server does not answer.");
    if (image.getAttribute("src") !== from) return;
    stage().dataset.broken = "yes";
    one(".stage .reason").textContent = answer;
  }, true);
})();
