"""A type of eight float64 values for kernels that numba compiles: each value belongs to a different matrix.

A kernel reads like code for a single number: `a[i, j] -= v[i] * w[j]` works on eight matrices at once. LLVM turns it
into AVX-512, AVX2 or NEON instructions. A position within the eight is called a lane.
"""

# The type checker does not know the attributes that numba.config sets at run time.
# mypy: disable-error-code="attr-defined"

import math
import operator
import tempfile
from collections.abc import Callable

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from soctk.pooling.fast.cache import folder

LANES = 8

_CACHE = folder()
_CACHE.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryFile(dir=_CACHE):  # raises OSError if numba could not write there
    pass

_EIGHT = ir.VectorType(ir.DoubleType(), LANES)


def kernel(function: Callable) -> Callable:
    """Have numba compile a function at its first call, and keep the result in our cache folder for later processes."""
    previous, config.CACHE_DIR = config.CACHE_DIR, str(_CACHE)
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = previous


class _Float64x8(types.Type):
    def can_convert_from(self, typingctx, other):
        return Conversion.safe if isinstance(other, types.Float) else None

    def unify(self, typingctx, other):
        return self if isinstance(other, types.Float) else None


class _Mask(types.Type):
    pass


class _LaneArray(types.Type):
    pass


float64x8, _mask, _lane_array = _Float64x8("float64x8"), _Mask("bool x 8"), _LaneArray("float64x8[:, :]")


@register_model(_Float64x8)
class _Float64x8Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _EIGHT)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), LANES))


@register_model(_LaneArray)
class _LaneArrayModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("data", types.CPointer(float64x8)), ("columns", types.intp)])


@lower_cast(types.Float, _Float64x8)
def _broadcast(context, builder, source, target, value):
    value = context.cast(builder, value, source, types.float64)
    first = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_EIGHT, ir.Undefined), zeros)


def _overload(function, operands, result, emit):
    """Define `function` for these types of operands. A plain float is accepted for a float64x8 beside another one."""

    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            fits = len(args) == len(operands) and all(map(self.context.can_convert, args, operands))
            return signature(result, *operands) if fits and set(args) & set(operands) else None

    lower_builtin(function, *operands)(lambda context, builder, signature, args: emit(builder, *args))


def _arithmetic(name):
    return lambda builder, a, b: getattr(builder, name)(a, b, flags=("contract",))  # a * b + c may be rounded once


def _comparison(name):
    return lambda builder, a, b: builder.fcmp_ordered(name, a, b)


def _intrinsic_of_llvm(name, operands):
    kind = ir.FunctionType(_EIGHT, [_EIGHT] * operands)

    def emit(builder, *args):
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f64"), args)

    return emit


for _functions, _name in [
    ((operator.add, operator.iadd), "fadd"),
    ((operator.sub, operator.isub), "fsub"),
    ((operator.mul, operator.imul), "fmul"),
    ((operator.truediv, operator.itruediv), "fdiv"),
]:
    for _function in _functions:
        _overload(_function, (float64x8, float64x8), float64x8, _arithmetic(_name))
_overload(operator.neg, (float64x8,), float64x8, lambda builder, a: builder.fneg(a))
for _function, _name in {
    operator.gt: ">",
    operator.ge: ">=",
    operator.lt: "<",
    operator.le: "<=",
    operator.eq: "==",
}.items():
    _overload(_function, (float64x8, float64x8), _mask, _comparison(_name))
_overload(operator.and_, (_mask, _mask), _mask, lambda builder, a, b: builder.and_(a, b))
_overload(abs, (float64x8,), float64x8, _intrinsic_of_llvm("fabs", 1))
_overload(math.sqrt, (float64x8,), float64x8, _intrinsic_of_llvm("sqrt", 1))
_overload(math.copysign, (float64x8, float64x8), float64x8, _intrinsic_of_llvm("copysign", 2))


@intrinsic
def fma(typingctx, a, b, c):
    """Return a * b + c, rounded once.

    In c * x - s * y the compiler may fuse either product with the subtraction; `fma` fixes which one.
    """

    def emit(context, builder, signature, args):
        return _intrinsic_of_llvm("fma", 3)(builder, *args)

    return float64x8(float64x8, float64x8, float64x8), emit


@intrinsic
def where(typingctx, condition, a, b):
    """Return `a` in lanes where the condition is true, and `b` in the others."""

    def emit(context, builder, signature, args):
        return builder.select(*args)

    return float64x8(_mask, float64x8, float64x8), emit


@intrinsic
def by_lanes(typingctx, array):
    """Return a view of a float64 array (rows, columns, 8): [i, j] is a float64x8, and [j] is [0, j].

    The array must outlive the view. Indices are not checked and must not be negative.
    """
    is_array = isinstance(array, types.Array)
    if not is_array or (array.dtype, array.ndim, array.layout) != (types.float64, 3, "C"):
        raise TypingError(f"a contiguous float64 array (rows, columns, {LANES}) is needed, not {array}")

    def emit(context, builder, signature, args):
        source = context.make_array(array)(context, builder, args[0])
        view = cgutils.create_struct_proxy(_lane_array)(context, builder)
        view.data = builder.bitcast(source.data, _EIGHT.as_pointer())
        view.columns = cgutils.unpack_tuple(builder, source.shape)[1]
        return view._getvalue()

    return _lane_array(array), emit


def _index_type(index):
    return types.UniTuple(types.intp, 2) if isinstance(index, types.BaseTuple) else types.intp


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        return signature(float64x8, args[0], _index_type(args[1])) if args[0] == _lane_array else None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        return signature(types.none, args[0], _index_type(args[1]), float64x8) if args[0] == _lane_array else None


def _pointer(context, builder, view, index):
    view = cgutils.create_struct_proxy(_lane_array)(context, builder, view)
    if isinstance(index.type, ir.ArrayType):
        row, column = cgutils.unpack_tuple(builder, index)
        index = builder.add(builder.mul(row, view.columns), column)
    return builder.gep(view.data, [index], inbounds=True)


@lower_builtin(operator.getitem, _lane_array, types.Any)
def _get(context, builder, signature, args):
    return builder.load(_pointer(context, builder, *args), align=8)


@lower_builtin(operator.setitem, _lane_array, types.Any, float64x8)
def _set(context, builder, signature, args):
    builder.store(args[2], _pointer(context, builder, *args[:2]), align=8)
