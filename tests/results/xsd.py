"""The part of XML Schema that `junit.xsd` uses: order, counts, attributes and types."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

XS = "{http://www.w3.org/2001/XMLSchema}"
TYPES = {"xs:string": r"(?s).*", "xs:nonNegativeInteger": r"\d+", "xs:decimal": r"-?\d+(\.\d*)?"}


def validate(document: str, schema: str) -> None:
    """Raise AssertionError where `document` does not follow `schema`."""
    root = ElementTree.fromstring(schema)
    elements = {element.get("name"): element for element in root.findall(f"{XS}element")}
    types = {kind.get("name"): kind for kind in root.findall(f"{XS}complexType")}
    _check(ElementTree.fromstring(document), elements, types)


def _check(node: Element, elements: dict[str | None, Element], types: dict[str | None, Element]) -> None:
    assert node.tag in elements, f"<{node.tag}> is not in the schema"
    declared = elements[node.tag]
    kind = types.get(declared.get("type")) if declared.get("type") else declared.find(f"{XS}complexType")
    if kind is None:
        assert declared.get("type") in TYPES
        assert not list(node) and not node.attrib, f"<{node.tag}> holds text alone"
        return
    _check_attributes(node, kind)
    particles = kind.findall(f"{XS}sequence/{XS}element")
    children = [child.tag for child in node]
    pattern = "".join(
        f"(?:{re.escape(str(p.get('ref')))} ){{{p.get('minOccurs', '1')},"
        f"{p.get('maxOccurs', '1').replace('unbounded', '')}}}"
        for p in particles
    )
    assert re.fullmatch(pattern, "".join(f"{tag} " for tag in children)), f"<{node.tag}> holds {children}"
    if kind.get("mixed") != "true":
        texts = [node.text, *(child.tail for child in node)]
        assert not any(text and text.strip() for text in texts), f"<{node.tag}> holds loose text"
    for child in node:
        _check(child, elements, types)


def _check_attributes(node: Element, kind: Element) -> None:
    attributes = {str(a.get("name")): a for a in kind.findall(f"{XS}attribute")}
    for name, value in node.attrib.items():
        assert name in attributes, f"<{node.tag}> has no attribute {name}"
        assert re.fullmatch(TYPES[str(attributes[name].get("type"))], value), f"{name}={value!r}"
    for name, attribute in attributes.items():
        assert attribute.get("use") != "required" or name in node.attrib, f"<{node.tag}> lacks {name}"
