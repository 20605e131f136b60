"""XML as element trees: building, XSLT, comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from libvirt_provider.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping


_NO_ACCESS: Any = etree.XSLTAccessControl.DENY_ALL  # type: ignore[attr-defined] # not in the stubs


def root(tag: str, **attributes: str) -> Any:
    """Return a new element without a parent."""
    return etree.Element(tag, attributes)


def add(parent: Any, tag: str, text: object = None, **attributes: object) -> Any:
    """Add a child; attributes that are None are left out."""
    child = etree.SubElement(parent, tag)
    for name, value in attributes.items():
        if value is not None:
            child.set(name, str(value))
    if text is not None:
        child.text = str(text)
    return child


def parse(text: str) -> Any:
    """Return the root element of *text*, without entities or network."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
    return etree.fromstring(text.encode(), parser)


def text_of(element: Any) -> str:
    """Return *element* as text for libvirt."""
    return str(etree.tostring(element, pretty_print=True, encoding="unicode"))


def fragment(parent: Any, inner: str, what: str) -> None:
    """Put the XML *inner* into *parent*.

    Raises:
        ProviderError: *inner* is not well-formed.
    """
    try:
        wrapper = parse(f"<wrapper>{inner}</wrapper>")
    except etree.XMLSyntaxError as error:
        raise ProviderError(f"{what} is not well-formed XML: {error}") from error
    parent.extend(list(wrapper))


def transformed(element: Any, inputs: Mapping[str, Any]) -> Any:
    """Return *element* after the XSLT under ``xml.xslt`` of *inputs*, if there is one.

    Raises:
        ProviderError: the XSLT is not well-formed, fails, or yields nothing.
    """
    xslt = (inputs.get("xml") or {}).get("xslt")
    if not xslt:
        return element
    try:
        sheet = etree.XSLT(parse(xslt), access_control=_NO_ACCESS)
        result = sheet(etree.ElementTree(element)).getroot()
    except (etree.XMLSyntaxError, etree.XSLTParseError, etree.XSLTApplyError) as error:
        raise ProviderError(f"xml.xslt: {error}") from error
    if result is None:
        raise ProviderError("xml.xslt yields no element: does it copy what it does not change?")
    return result


def canonical(element: Any) -> bytes:
    """Return *element* in a form in which equal XML is equal bytes."""
    copy = parse(text_of(element))
    return bytes(etree.tostring(copy, method="c14n"))
