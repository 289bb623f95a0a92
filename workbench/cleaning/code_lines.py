"""Tell code from prose: whether an answer holds code, and what of a text is prose.

In doubt a text counts as code. So an answer that is called prose is prose, but one with a line that looks
like code, e.g. the printed output `[1, 2]`, is not called prose.
"""

import ast
import re
import warnings

_FENCE = re.compile(r"(?:```|~~~)[^\n]*\n?(.*?)(?:```|~~~|\Z)", re.DOTALL)
# Inline code with a call, an operator, an index or several words: not a mere name or value.
_INLINE = re.compile(r"(?<!`)`[^`\n]*[^`\s.\w'\"-][^`\n]*`|(?<!`)`[^`\s]+ [^`\n]+`")
_QUOTED = re.compile(r"`[^`\n]*`|https?://\S+")
_LINE = re.compile(
    r"""^\s*(?:
      \#!\s*/ | \#\s*(?:include|define|ifdef|ifndef|pragma)\b | <\?(?:php|xml|=) | <!DOCTYPE | // | /\* | \*/
      | @[A-Za-z_][\w.]*(?:\(.*\))?$                             # a decorator or an annotation
      | </?[A-Za-z][\w:-]*(?:\s[^<>]*)?/?>                       # a tag
      | (?:from\s+[\w.]+\s+)?import\s+[\w.*{][\w.*{},\s]*(?:\s+as\s+\w+)?;?$
      | (?:async\s+)?def\s+\w+[(\s:] | class\s+\w+\s*[(:{] | fun(?:c|ction)?\s+\w+\s*\( | function\s*\w*\(
      | (?:if|elif|while|for|with|except|switch|catch)\b.*[:{]$ | (?:else|try|finally|do|begin)\s*[:{]?$
      | (?:return|yield|raise|throw|await|del|assert)\b[^.]*[()\[\]=+*/;'"\d_]\S*$
      | (?:pass|break|continue|end|done|fi|esac)$
      | (?:const|let|var|val|int|float|double|char|bool|string|auto|long|local|my|export|set)\s+
        [$*&]?\w+\s*[=;:[(]
      | (?:public|private|protected|static|final|package|using|namespace|interface|struct|enum|impl|pub|use)\s
        \S*.*[;{(]$
      | (?:SELECT|WITH)\s.+ | (?:INSERT\s+INTO|DELETE\s+FROM|UPDATE|ALTER|DROP|CREATE|GRANT)\s+[A-Z\w"`].*
        (?:\bTABLE\b|\bSET\b|\bVALUES\b|\bVIEW\b|\bINDEX\b|\bDATABASE\b|\bWHERE\b|;).*
      | (?:puts|print|printf|echo|console\.log|require|include|p)\s*[('"$\[#:@].*
      | [\w.\[\]$@'"*&>-]+(?:\s*,\s*[\w.$]+)*\s*(?:[-+*/%&|^:.]?=|<-|=>)\s*\S   # an assignment
      | [\w.$:>-]+\(.*\)[;,:]?$                                  # a call
      | \$?\s?(?:sudo\s+)?(?:git|npm|npx|yarn|pip3?|docker|kubectl|cargo|apt(?:-get)?|brew|conda|go
          |systemctl)\s
        (?:add|apply|apt|branch|build|checkout|clone|commit|compose|create|exec|fetch|get|init|install|list
          |log|merge|mod|ps|pull|push|rebase|remove|reset|restart|run|start|stash|status|stop|tag|test|uninstall|update)\b
      | (?:\$\s)?(?:sudo\s+)?(?:awk|cat|cd|chmod|chown|cp|curl|cut|date|du|df|find|grep|head|java|javac
          |kill|ln|ls|mkdir|mv|node|ps|pwd|python3?|rm|sed|sort|ssh|tail|tar|touch|tr|uniq|wc|wget|which|xargs|zip)
        (?:$ | \s+(?:-\S | ["'$|*./~+] | \S+\s+(?:-\S|[|>"'$*./~])).* | \s+\S+\.\w+$)
    )
    | [;{]\s*(?://.*)?$ | ^\s*[\])}]+[;,)]*\s*$ | \)\s*:\s*$ | \w\(.*\)\s*\{
    | ^\s*(?:>>>|In\s\[\d+\]:)\s | ^\s*\w+\s::\s
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"^\s*(?:#|//|/\*|\*|--|%|<!--|\"\"\"|''')")
_SYMBOL = re.compile(r"[^\w\s.,;:!?'\"()-]")
_MOST_SYMBOLS = 0.15  # of the characters of one line of prose
_PARSED = 400  # characters of the longest answer that is parsed as Python
_LITERALS = (
    *(ast.Module, ast.Expr, ast.Constant, ast.Name, ast.Tuple, ast.UnaryOp),
    *(ast.AnnAssign, ast.expr_context, ast.unaryop),  # "Output: 3" parses as an annotation
)


def has_code(text: str) -> bool:
    """Return whether `text` holds code: a fenced block, a line of code, inline code or an expression."""
    if any(block.strip() for block in _FENCE.findall(text)):
        return True
    lines = [line for line in text.splitlines() if line.strip()]
    if any(map(_LINE.search, lines)) or _INLINE.search(text):
        return True
    line = text.strip()
    if len(lines) == 1 and len(_SYMBOL.findall(line)) >= max(2, _MOST_SYMBOLS * len(line)):
        return True  # e.g. a regular expression
    return len(line) <= _PARSED and _is_python(line)


def _is_python(text: str) -> bool:
    """Return whether `text` is Python that computes something, or a list or a dict."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return not all(isinstance(node, _LITERALS) for node in ast.walk(tree))


def prose(text: str) -> str:
    """Return `text` without fenced blocks, inline code, addresses, lines of code and comments."""
    text = _QUOTED.sub(" ", _FENCE.sub("\n", text))
    return "\n".join(line for line in text.splitlines() if not (_LINE.search(line) or _COMMENT.match(line)))
