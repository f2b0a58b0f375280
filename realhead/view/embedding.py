"""viser scenes as HTML that works anywhere: from the disk, in a notebook's frame, in a sandboxed one."""

from __future__ import annotations

from realhead.note import SYNTHETIC

# viser sorts splats in a module worker made from a blob. Pages without an origin of their own (file://, sandboxed
# frames) may not load such a worker: it fails silently and the splats stay unsorted, the back of the head before the
# face. The client falls back to a data: URL, which is allowed there, when no blob URL can be made; so none is made.
WORKERS_WITHOUT_ORIGIN = """<script>
if (self.origin === "null" || location.protocol === "file:") {
  const original = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (object) => {
    if (object && String(object.type).startsWith("text/javascript")) throw new Error("use a data URL here");
    return original(object);
  };
}
</script>"""


def portable(html: str, title: str | None = None) -> str:
    """viser's `as_html` with workers that start without an origin, our title, and a note on what the page shows."""
    import html as html_module

    head = html.index("<head>") + len("<head>")
    html = html[:head] + f'<meta name="description" content="{SYNTHETIC}">' + WORKERS_WITHOUT_ORIGIN + html[head:]
    if title is not None:
        html = html.replace("<title>Viser</title>", f"<title>{html_module.escape(title)}</title>", 1)
    return html


def inline_frame(html: str, height: int) -> str:
    """A whole page as an `<iframe>` whose content is inside the tag: nothing is served, nothing is fetched."""
    import html as html_module

    source = html_module.escape(html, quote=True)
    return f'<iframe srcdoc="{source}" width="100%" height="{height}" style="border:1px solid #ddd"></iframe>'
