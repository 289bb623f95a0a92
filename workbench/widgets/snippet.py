"""A text to take along: to read, to copy, to download."""

import anywidget
import traitlets


class Snippet(anywidget.AnyWidget):
    """`text` in a read-only field called `title`, with buttons to copy it or download it as `name`."""

    title = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)

    _esm = """
    export default {
      render({ model, el }) {
        el.classList.add("workbench-snippet");
        const head = document.createElement("div");
        const title = document.createElement("b");
        const field = document.createElement("textarea");
        const said = document.createElement("span");
        said.setAttribute("role", "status");
        title.textContent = model.get("title") + " ";
        field.readOnly = true;
        field.spellcheck = false;
        field.setAttribute("aria-label", model.get("title"));
        field.style.cssText = "width:100%;box-sizing:border-box;white-space:pre;overflow:auto;"
          + "font:13px/1.5 var(--jp-code-font-family,monospace);background:transparent;color:inherit";
        const button = (label, action) => {
          const made = document.createElement("button");
          made.className = "jupyter-button";
          made.textContent = label;
          made.addEventListener("click", action);
          return made;
        };
        const copy = button("Copy", async () => {
          try {
            await navigator.clipboard.writeText(field.value);
          } catch {  // no permission, or a page without https
            field.select();
            document.execCommand("copy");
          }
          said.textContent = "copied";
        });
        const download = button("Download", () => {
          const link = document.createElement("a");
          link.href = URL.createObjectURL(new Blob([field.value], { type: "text/plain" }));
          link.download = model.get("name");
          link.click();
          URL.revokeObjectURL(link.href);
        });
        const show = () => {
          field.value = model.get("text");
          field.rows = Math.min(20, field.value.split("\\n").length);
          said.textContent = "";
        };
        model.on("change:text", show);
        show();
        head.append(title, copy, download, said);
        el.append(head, field);
        return () => model.off("change:text", show);
      },
    };
    """
